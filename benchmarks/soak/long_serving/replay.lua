-- wrk's script: sends prepared requests in turns, and compares each answer with the one that is expected.
-- Arguments: the folder of the requests, how many there are, how many answers are enough, and the first number that
-- takes the place of nine @ signs in a request. The line "enough" asks the caller to stop wrk.
-- The place of its request stands in each answer's X-Request-ID: answers of several connections come in any order.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local function read(path)
  local file = io.open(path, "rb")
  if not file then return nil end
  local content = file:read("*a")
  file:close()
  return content
end

local function split(text)
  local parts, start = {}, 1
  while true do
    local found = string.find(text, "@@@@@@@@@", start, true)
    if not found then break end
    table.insert(parts, string.sub(text, start, found - 1))
    start = found + 9
  end
  table.insert(parts, string.sub(text, start))
  return parts
end

function init(arguments)
  local folder, count = arguments[1], tonumber(arguments[2])
  quota, number = tonumber(arguments[3]), tonumber(arguments[4])
  templates, statuses, bodies = {}, {}, {}
  for index = 1, count do
    local path = folder .. "/" .. (index - 1)
    templates[index] = split(read(path .. ".request"))
    statuses[index] = tonumber(read(path .. ".status"))
    bodies[index] = read(path .. ".body")
  end
  position, answers, right, wrong_status, wrong_body, unknown, first = 0, 0, 0, 0, 0, 0, ""
end

function request()
  position, number = position % #templates + 1, number + 1
  return table.concat(templates[position], string.format("%09d", number))
end

local function note(text)
  if first == "" then first = text end
end

function response(status, headers, body)
  answers = answers + 1
  local id = headers["x-request-id"] or ""
  local index = tonumber(string.match(id, "^(%d+)%.%d+$"))
  if not index then
    unknown = unknown + 1
    note("an answer has the id '" .. id .. "'")
  elseif status ~= statuses[index + 1] then
    wrong_status = wrong_status + 1
    note(string.format("request %d has status %d, not %d", index, status, statuses[index + 1]))
  elseif bodies[index + 1] and body ~= bodies[index + 1] then
    wrong_body = wrong_body + 1
    note(string.format("request %d has another body than before", index))
  else
    right = right + 1
  end
  if answers == quota then
    io.stdout:write("enough\n")
    io.stdout:flush()
  end
end

function done(summary, latency)
  local totals = {right = 0, wrong_status = 0, wrong_body = 0, unknown = 0}
  local reason = ""
  for _, thread in ipairs(threads) do
    for name, total in pairs(totals) do totals[name] = total + thread:get(name) end
    if reason == "" then reason = thread:get("first") end
  end
  local errors = summary.errors
  io.write(string.format('{"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f,"right":%d,"wrong_status":%d,"wrong_body":%d,' ..
    '"unknown":%d,"broken":%d,"reason":"%s"}\n',
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, totals.right,
    totals.wrong_status, totals.wrong_body, totals.unknown,
    errors.connect + errors.read + errors.write + errors.timeout, reason))
end
