-- An EventList as its events. A returned array of tables becomes as many records.
function split(tag, timestamp, record)
    if record["items"] == nil then
        return 0, timestamp, record
    end
    return 2, timestamp, record["items"]
end
