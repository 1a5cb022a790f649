-- SPDX-License-Identifier: Apache-2.0
-- ArduPilot's scripting API for a battery driver; strict about every call.
--
-- From libraries/AP_Scripting/generator/description/bindings.desc and lua_bindings.cpp: a
-- call with another number of arguments, another type or a value out of range is an error, as it
-- is on the flight controller, and so is an unknown function. Driven by lines on stdin:
--   T ms                 the time
--   M chan system component id seq payload a message arrives (payload in hex)
--   A 0|1                disarmed, armed
--   P name value         a parameter with its value
--   I ids                another script calls mavlink:init with room for so many messages
--   S                    the script is started, R once more as after a restart of scripting
--   U                    it is run once
--   C                    the most instructions that a run has taken
-- Every effect is a line on stdout; an `E` is an error of the script.

local script = arg[1]
local now_ms, armed = 0, false
local parameters, tables = {}, {}
local inbox, accepted, room, lost = nil, {}, 0, 0
local auths, callback = 0, nil

local function out(...) io.write(table.concat({...}, ' '), '\n') io.flush() end

local function check(condition, text) if not condition then error(text, 3) end end

local function is_whole(value, least, most, name)
  check(math.type(value) == 'integer' or (type(value) == 'number' and value == math.floor(value)),
    name .. ' is no integer: ' .. tostring(value))
  check(value >= least and value <= most, name .. ' is out of range: ' .. tostring(value))
end

local function is_number(value, name)
  check(type(value) == 'number', name .. ' is no number: ' .. tostring(value))
end

local function is_text(value, name, most)
  check(type(value) == 'string', name .. ' is no string: ' .. tostring(value))
  if most then check(#value <= most, name .. ' is too long: ' .. value) end
end

local function takes(n, ...) check(select('#', ...) == n, 'takes ' .. n .. ' arguments') end

-- uint32_t_ud: arithmetic returns another one; only :toint() and :tofloat() are permitted.
local function ud(value)
  return setmetatable({}, {
    __index = {toint = function(...) takes(1, ...) return value end,
               tofloat = function(...) takes(1, ...) return value + 0.0 end},
    __sub = function(_, other) return ud((value - other:toint()) & 0xFFFFFFFF) end,
  })
end

function millis(...) takes(0, ...) return ud(now_ms) end

gcs = {}
function gcs.send_text(self, severity, text, ...)
  takes(0, ...) check(self == gcs, 'call it with :')
  is_whole(severity, 0, 7, 'severity') is_text(text, 'text', 50)
  out('text', severity, text)
end

param = {}
function param.get(self, name, ...)
  takes(0, ...) check(self == param, 'call it with :') is_text(name, 'name', 16)
  return parameters[name]
end
function param.set(self, name, value, ...)
  takes(0, ...) check(self == param, 'call it with :') is_text(name, 'name', 16)
  is_number(value, 'value')
  if parameters[name] == nil then return false end
  parameters[name] = value + 0.0
  out('param', name, string.format('%.3f', value))
  return true
end
function param.add_table(self, key, prefix, count, ...)
  takes(0, ...) check(self == param, 'call it with :')
  is_whole(key, 0, 200, 'key') is_text(prefix, 'prefix') is_whole(count, 1, 63, 'count')
  tables[key] = {prefix = prefix, count = count}
  return true
end
function param.add_param(self, key, number, name, value, ...)
  takes(0, ...) check(self == param, 'call it with :')
  is_whole(key, 0, 200, 'key') is_text(name, 'name') is_number(value, 'value')
  is_whole(number, 1, tables[key].count, 'number')
  local full = tables[key].prefix .. name
  check(#full <= 16, 'name is too long: ' .. full)
  if parameters[full] == nil then parameters[full] = value + 0.0 end
  return true
end
function Parameter(name, ...)
  takes(0, ...) is_text(name, 'name')
  check(parameters[name] ~= nil, 'no such parameter: ' .. name)
  return {get = function(...) takes(1, ...) return parameters[name] end}
end

arming = {}
function arming.get_aux_auth_id(...)
  takes(1, ...)
  if auths >= 3 then return nil end
  auths = auths + 1
  return auths - 1
end
function arming.set_aux_auth_passed(self, id, ...)
  takes(0, ...) is_whole(id, 0, auths - 1, 'id') out('arming passed')
end
function arming.set_aux_auth_failed(self, id, text, ...)
  takes(0, ...) is_whole(id, 0, auths - 1, 'id') is_text(text, 'text', 41)
  out('arming failed', text)
end
function arming.is_armed(...) takes(1, ...) return armed end

local FIELDS = {healthy = 'boolean', voltage = 'number', current_amps = 'number',
  consumed_mah = 'number', consumed_wh = 'number', temperature = 'number',
  cell_count = 255, capacity_remaining_pct = 255, state_of_health_pct = 255, cycle_count = 65535}
function BattMonitorScript_State(...)
  takes(0, ...)
  local state = {fields = {}, cells = {}}
  return setmetatable(state, {__index = function(_, name)
    if name == 'cell_voltages' then
      return function(self, index, value, ...)
        takes(0, ...) is_whole(index, 0, 31, 'index') is_whole(value, 0, 65535, 'cell')
        self.cells[index + 1] = string.format('%d', value)
      end
    end
    local kind = FIELDS[name]
    check(kind, 'no such field: ' .. name)
    return function(self, value, ...)
      takes(0, ...)
      if kind == 'boolean' then check(type(value) == kind, name .. ' is no boolean')
      elseif kind == 'number' then is_number(value, name)
      else is_whole(value, 0, kind, name) end
      self.fields[name] = value
    end
  end})
end

battery = {}
function battery.handle_scripting(self, index, state, ...)
  takes(0, ...) check(self == battery, 'call it with :') is_whole(index, 0, 255, 'index')
  check(getmetatable(state), 'state is none')
  local line = {'battery', string.format('%d', index)}
  for name, value in pairs(state.fields) do
    local text = math.type(value) == 'float' and string.format('%.6g', value) or tostring(value)
    line[#line + 1] = name .. '=' .. text
  end
  line[#line + 1] = 'cells=' .. table.concat(state.cells, ',')
  out(table.unpack(line))
  local suffix = index > 0 and index + 1 or ''
  return parameters['BATT' .. suffix .. '_MONITOR'] == 29
end

mavlink = {}
function mavlink.init(self, queue, ids, ...)
  takes(0, ...) is_whole(queue, 0, 25, 'queue') is_whole(ids, 0, 25, 'ids')
  check(room == 0 or ids <= room, 'writes beyond the list of another script')
  inbox, accepted = inbox or {size = queue}, {}
  room = math.max(room, ids)
  accepted.size = ids
end
function mavlink.register_rx_msgid(self, id, ...)
  takes(0, ...) check(self == mavlink, 'call it with :') is_whole(id, 0, 16777215, 'id')
  for _, known in ipairs(accepted) do if known == id then return false end end
  if #accepted >= (accepted.size or 0) then error('no registrations free') end
  accepted[#accepted + 1] = id
  return true
end
function mavlink.receive_chan(self, ...)
  takes(0, ...) check(self == mavlink, 'call it with :')
  if not inbox then error('RX not initialized') end
  local first = table.remove(inbox, 1)
  if not first then return end
  return first.message, first.chan, ud(now_ms)
end
function mavlink.block_command(self, id, ...)
  takes(0, ...) check(self == mavlink, 'call it with :') is_whole(id, 0, 65535, 'command')
  return true
end
function mavlink.send_chan(self, chan, id, payload, ...)
  takes(0, ...) check(self == mavlink, 'call it with :') is_whole(chan, 0, 5, 'chan')
  check(id == 77 and #payload == 10, 'COMMAND_ACK has 10 bytes')
  out('send', chan, id, (payload:gsub('.', function(c) return string.format('%02x', c:byte()) end)))
  return true
end

-- The part of Lua that lua_scripts.cpp and lbaselib.c provide. A script cannot use other names and
-- cannot create globals.
local world = {assert = assert, error = error, ipairs = ipairs, load = load, next = next,
  pairs = pairs, pcall = pcall, setmetatable = setmetatable, tonumber = tonumber,
  tostring = tostring, type = type, math = math, string = string, table = table, io = io,
  millis = millis, gcs = gcs, param = param, Parameter = Parameter, arming = arming,
  BattMonitorScript_State = BattMonitorScript_State, battery = battery, mavlink = mavlink}
setmetatable(world, {__index = function(_, name) error('no such thing: ' .. name, 2) end,
                     __newindex = function(_, name) error('a global: ' .. name, 2) end})

-- SCR_VM_I_COUNT: more instructions in a run end a script permanently; pcall does not prevent it.
local INSTRUCTIONS = 10000
local used_most = 0

local function run(step)
  local used, over = 0, false
  debug.sethook(function()  -- counts the script's own; C functions are not counted
    if debug.getinfo(2, 'S').source == '@' .. script then used = used + 1 end
    if used > INSTRUCTIONS then over = true error('exceeded CPU time') end
  end, '', 1)
  local ok, next_step, period_ms = pcall(step)
  debug.sethook()
  used_most = math.max(used_most, used)
  if over then ok, next_step = false, 'exceeded CPU time' end
  if not ok then out('E', (tostring(next_step):gsub('\n', ' '))) callback = nil return end
  if next_step == nil then callback = nil out('end') return end
  if type(next_step) ~= 'function' or math.type(period_ms) ~= 'integer' then
    out('E', 'a script returns a function and milliseconds')
  end
  callback = next_step
end

local function message_of(system, component, id, seq, hex)
  local payload = hex:gsub('..', function(two) return string.char(tonumber(two, 16)) end)
  local head = string.pack('<I2BBBBBBBI3', 0, 0xFD, #payload, 0, 0, seq, system, component, id)
  return head .. payload .. string.rep('\0', 255 + 25 - #payload)
end

for line in io.lines() do
  local words = {}
  for word in line:gmatch('%S+') do words[#words + 1] = word end
  local what = words[1]
  if what == 'T' then now_ms = math.tointeger(tonumber(words[2])) & 0xFFFFFFFF
  elseif what == 'A' then armed = words[2] == '1'
  elseif what == 'P' then parameters[words[2]] = tonumber(words[3]) + 0.0
  elseif what == 'I' then mavlink:init(5, math.tointeger(tonumber(words[2])))
  elseif what == 'S' or what == 'R' then auths = 0 run(loadfile(script, 't', world))
  elseif what == 'C' then out(string.format('%d', used_most))
  elseif what == 'U' then if callback then run(callback) else out('dead') end
  elseif what == 'M' then
    local chan, system, component, id, seq = table.unpack(words, 2, 6)
    id = math.tointeger(tonumber(id))
    for _, known in ipairs(accepted) do
      if known == id and #inbox < inbox.size then
        local message = message_of(tonumber(system), tonumber(component), id,
          tonumber(seq), words[7] or '')
        inbox[#inbox + 1] = {message = message, chan = math.tointeger(tonumber(chan))}
        break
      end
    end
  end
  out('.')
end
