-- Goes with the examples.
INSERT INTO items (name, value) VALUES ('first', '{"colour": "green"}');
