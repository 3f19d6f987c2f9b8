-- Posts the files that its arguments name, in turn, and prints the result as one line of JSON.

local messages, turn = {}, 0

function init(files)
  for _, name in ipairs(files) do
    local file = assert(io.open(name, "rb"))
    local headers = { ["Content-Type"] = "application/octet-stream" }
    table.insert(messages, wrk.format("POST", nil, headers, file:read("*a")))
    file:close()
  end
end

function request()
  turn = turn % #messages + 1
  return messages[turn]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '\n{"requests": %d, "duration_us": %d, "refused": %d, "errors": %d, "p50_us": %d, "p95_us": %d, "p99_us": %d}',
    summary.requests, summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)
  ))
end
