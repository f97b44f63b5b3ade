INSERT INTO items (name, value) VALUES ('first', '{"colour": "green"}');
