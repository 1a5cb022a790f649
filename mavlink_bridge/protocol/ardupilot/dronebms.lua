--[[
  dronebms.lua, version 1: lets ArduPilot 4.5 and newer use the batteries of a dronebms service.

  The service sends each battery as a MAVLink component of the vehicle's own system, 180 and up.
  Each is handed to the battery monitor of type 29 (Scripting): failsafes, arming checks, OSD, logs
  and MOT_BAT_CURR_MAX then work with the values of the gauge. Arming is refused, with the reason,
  while a battery is not heard, is in trouble, or the service says no. When the service asks for
  less current, MOT_BAT_CURR_MAX is lowered in memory, never saved, and put back three seconds
  after the last time it was asked. Nothing here changes a mode, disarms, or cuts thrust.

  It needs SCR_ENABLE 1 and BATT_MONITOR 29 (BATT2_MONITOR 29 for a second battery) and its place
  in APM/scripts on the card. BMS_BATT is the first battery monitor to fill (1), BMS_VETO 0 leaves
  arming alone.

  ArduPilot has one inbox for the MAVLink messages of all scripts. If another script of yours has
  called mavlink:init() already, this one says so and does not start, as a second call can write
  beyond the inbox; if another one calls it later, this one says so and goes on as far as it can.
  Remove one of the two, or let one script do the work of both.

  Units: V, A, mAh, degrees Celsius; milliseconds of the flight controller.
--]]

local VERSION = 1
local FIRST_COMPONENT, LAST_COMPONENT = 180, 188
local BATTERY_STATUS, SMART_BATTERY_INFO, NAMED_VALUE_FLOAT, STATUSTEXT = 147, 370, 251, 253
local MESSAGES = {BATTERY_STATUS, SMART_BATTERY_INFO, NAMED_VALUE_FLOAT, STATUSTEXT}
local PAYLOAD = 13        -- where it begins in a mavlink_message_t
local STATUS_FORMAT = '<i4i4i2' .. ('I2'):rep(10) .. 'i2BBBi1i4B' .. ('I2'):rep(4) .. 'BI4'
local INBOX = 25          -- messages, the most that ArduPilot gives
local AT_ONCE = 8         -- messages of a run: SCR_VM_I_COUNT, 10000 instructions, ends a script
local PERIOD_MS = 50
local SILENT_MS = 3000    -- from then on a battery is not heard, and a limit not asked for
local HEARTBEAT_MS = 1000
local UNUSED_MV = 65535
local CELL_MAX_MV = 5000  -- more is the voltage of a whole pack
local FAULTS = {[0] = 'deep discharge', 'voltage spikes', 'cell failed', 'over-current', 'too hot',
  'too cold', 'wrong voltage', 'wrong firmware', 'wrong cells'}
local STATES = {[3] = 'critical', [4] = 'emergency', [5] = 'failed', [6] = 'unhealthy'}
local NOTICE, WARNING, ERROR = 5, 4, 3
local LIMIT_TC_S = 1      -- the five seconds that ArduPilot comes with are too slow

local TABLE_KEY = 147
assert(param:add_table(TABLE_KEY, 'BMS_', 2), 'dronebms: no room for parameters')
assert(param:add_param(TABLE_KEY, 1, 'BATT', 1), 'dronebms: no room for BMS_BATT')
assert(param:add_param(TABLE_KEY, 2, 'VETO', 1), 'dronebms: no room for BMS_VETO')

local BATT, VETO = Parameter('BMS_BATT'), Parameter('BMS_VETO')

local packs = {}          -- by component: heard_ms, cells, cycles, state, faults
local service = {}        -- no_go, reason, ask_a, ask_ms
local channel             -- on which the service was heard last
local old = nil           -- parameters by name, as they were before they were changed
local limit_a = nil       -- that is set now
local auth_id = nil
local beat_ms = nil
local own_system = nil
local told = {}           -- complaints that were made

local function say(severity, text)
  gcs:send_text(severity, ('dronebms: ' .. text):sub(1, 50))
end

local function complain(text)
  if not told[text] then
    told[text] = true
    say(WARNING, text)
  end
end

local function since(ms)
  return (millis() - ms):toint()
end

local function fresh(ms)
  return ms ~= nil and since(ms) < SILENT_MS
end

local function on_status(index, pack, message)
  local f = {string.unpack(STATUS_FORMAT, message, PAYLOAD)}
  local consumed, energy, temperature, current, remaining = f[1], f[2], f[3], f[14], f[18]
  local state, faults = f[20], f[26]
  local cells, sum, largest = {}, 0, 0
  for i = 1, 14 do
    local mv = f[i <= 10 and i + 3 or i + 10]
    if mv == (i <= 10 and UNUSED_MV or 0) then break end
    cells[i] = mv
    sum = sum + mv
    if mv > largest then largest = mv end
  end
  if sum == 0 then return end

  local values = BattMonitorScript_State()
  values:healthy(true)
  values:voltage(sum * 0.001)
  local known = largest > CELL_MAX_MV and 0 or #cells
  -- Cells that are known no more are taken back, or ArduPilot would show the last ones for ever.
  pack.cells = math.max(known, pack.cells or 0)
  values:cell_count(pack.cells)
  for i = 1, pack.cells do
    values:cell_voltages(i - 1, i <= known and cells[i] or UNUSED_MV)
  end
  if current ~= -1 then values:current_amps(current * 0.01) end
  if consumed >= 0 then values:consumed_mah(consumed) end
  if energy >= 0 then values:consumed_wh(energy / 36.0) end
  if temperature ~= 32767 then values:temperature(temperature * 0.01) end
  if remaining >= 0 then values:capacity_remaining_pct(remaining) end
  if pack.cycles then values:cycle_count(pack.cycles) end

  pack.state, pack.faults, pack.heard_ms = state, faults, millis()
  local instance = math.floor(BATT:get()) - 1 + index
  if instance < 0 or not battery:handle_scripting(instance, values) then
    complain(string.format('set BATT%s_MONITOR to 29', instance > 0 and instance + 1 or ''))
  end
end

local function on_info(pack, message)
  local cycles = string.unpack('<I2', message, PAYLOAD + 8)
  if cycles ~= 65535 then pack.cycles = cycles end
end

local function on_named_value(message)
  local value, name = string.unpack('<fc10', message, PAYLOAD + 4)
  name = name:gsub('\0.*', '')
  if name == 'BMS_AMAX' then
    service.ask_a = value > 0 and value or nil  -- what is no number is nothing, too
    service.ask_ms = millis()
  elseif name == 'BMS_NOGO' then
    service.no_go = value > 0
  end
end

local function on_text(message)
  local text = string.unpack('c50', message, PAYLOAD + 1):gsub('\0.*', '')
  if text:sub(1, 7) == 'no go: ' then service.reason = text end
end

local function receive()
  for _ = 1, AT_ONCE do
    local message, chan = mavlink:receive_chan()
    if not message then return end
    local system, component, number = string.unpack('<BBI3', message, 8)
    if system == own_system and component >= FIRST_COMPONENT and component <= LAST_COMPONENT then
      local pack = packs[component] or {}
      packs[component] = pack
      channel = chan
      if number == BATTERY_STATUS then
        on_status(component - FIRST_COMPONENT, pack, message)
      elseif number == SMART_BATTERY_INFO then
        on_info(pack, message)
      elseif number == NAMED_VALUE_FLOAT then
        on_named_value(message)
      elseif number == STATUSTEXT then
        on_text(message)
      end
    end
  end
end

local function trouble()
  -- Why the vehicle should not be armed, nil when it may.
  if next(packs) == nil then return 'no battery is heard' end
  for component = FIRST_COMPONENT, LAST_COMPONENT do
    local pack = packs[component]
    if pack then
      local name = 'battery ' .. (component - FIRST_COMPONENT + 1)
      if not fresh(pack.heard_ms) then return name .. ' is not heard' end
      for bit = 0, 8 do
        if pack.faults & (1 << bit) ~= 0 then return name .. ': ' .. FAULTS[bit] end
      end
      if pack.faults ~= 0 then return name .. ': fault' end
      if STATES[pack.state] then return name .. ' is ' .. STATES[pack.state] end
    end
  end
  if service.no_go then return service.reason or 'the service says no' end
  return nil
end

local function judge_arming()
  if not auth_id then return end
  local why = trouble()
  if why then
    arming:set_aux_auth_failed(auth_id, why:sub(1, 41))
  else
    arming:set_aux_auth_passed(auth_id)
  end
end

local function put_back()
  if not old then return end
  for name, value in pairs(old) do
    if not param:set(name, value) then complain('could not put back ' .. name) end
  end
  old = nil
  limit_a = nil
  say(NOTICE, 'current limit as before')
end

local function limit_current()
  local ask_a = fresh(service.ask_ms) and arming:is_armed() and service.ask_a
  if not ask_a then return put_back() end
  if not old then
    local max_a, tc_s = param:get('MOT_BAT_CURR_MAX'), param:get('MOT_BAT_CURR_TC')
    if not max_a or not tc_s then return complain('this vehicle cannot limit its current') end
    old = {MOT_BAT_CURR_MAX = max_a, MOT_BAT_CURR_TC = tc_s}
    say(WARNING, string.format('current limited to %.0f A', ask_a))
  end
  -- A limit that is there already is never raised.
  if old.MOT_BAT_CURR_MAX > 0 then ask_a = math.min(ask_a, old.MOT_BAT_CURR_MAX) end
  if ask_a ~= limit_a and param:set('MOT_BAT_CURR_MAX', ask_a) then
    limit_a = ask_a
    param:set('MOT_BAT_CURR_TC', LIMIT_TC_S)
  end
end

local function send(name, value)
  -- NAMED_VALUE_FLOAT to the service alone.
  mavlink:send_chan(channel, NAMED_VALUE_FLOAT,
    string.pack('<I4fc10', millis():toint(), value, name))
end

local function is_new_to_inbox()
  -- Register what is not registered yet; true when anything was not.
  local new = false
  for _, number in ipairs(MESSAGES) do
    local ok, added = pcall(mavlink.register_rx_msgid, mavlink, number)
    new = new or not ok or added
  end
  return new
end

local function each_second()
  own_system = param:get('MAV_SYSID') or param:get('SYSID_THISMAV')
  if is_new_to_inbox() then complain('another script took the MAVLink inbox') end
  beat_ms = millis()
  if channel then
    send('BMS_LUA', VERSION)
    send('BMS_LIM', limit_a or 0)
  end
end

local function work()
  if not beat_ms or since(beat_ms) >= HEARTBEAT_MS then each_second() end
  receive()
  judge_arming()
  limit_current()
end

local function update()
  -- An error ends a script for good, and the battery with it.
  local ok, why = pcall(work)
  if not ok then complain(tostring(why)) end
  return update, PERIOD_MS
end

-- The inbox is there already: of this script before scripting was restarted, or of another one,
-- whose list of messages a second init with more of them would overrun (lua_mavlink_init).
if not pcall(mavlink.receive_chan, mavlink) then
  mavlink:init(INBOX, INBOX)  -- room for whatever another script may init later
  is_new_to_inbox()
elseif is_new_to_inbox() then
  say(ERROR, 'not started, another script has MAVLink')
  return
end
if VETO:get() > 0 then auth_id = arming:get_aux_auth_id() end
say(NOTICE, 'driver ' .. VERSION .. ' started')
return update, PERIOD_MS
