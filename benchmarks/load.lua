-- The requests of a workload: wrk … -s load.lua URL -- WORKLOAD PREFIX
local json = { ["Content-Type"] = "application/json" }
local number, prefix = 0, ""

local function get(path)
    return function() return wrk.format("GET", path) end
end

local function create_user()
    number = number + 1
    local body = string.format('{"name":"load","email":"%s-%d@load"}', prefix, number)
    return wrk.format("POST", "/users", json, body)
end

local function batch()
    local items = {}
    for n = 1, 1000 do
        items[n] = string.format('{"name":"load %d","value":{"number":%d,"tags":["a"]}}', n, n)
    end
    local all = wrk.format("POST", "/items/batch", json, "[" .. table.concat(items, ",") .. "]")
    return function() return all end
end

-- Of ten requests: five read a user, three an item, one asks the upstream, one creates a user.
local function mixed()
    local user, item, external = get("/users/1"), get("/items/1"), get("/external/one")
    local turns = { user, item, user, item, user, external, user, item, user, create_user }
    local turn = 0
    return function()
        turn = turn % #turns + 1
        return turns[turn]()
    end
end

function init(arguments)
    local workload = arguments[1]
    prefix = arguments[2]
    if workload == "create a user" then request = create_user
    elseif workload == "batch" then request = batch()
    elseif workload == "mixed" then request = mixed()
    else request = get(workload)
    end
end
