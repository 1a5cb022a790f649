--[[
  dronebms.lua, version 1: battery driver of a dronebms service for ArduPilot 4.5 and newer.

  The service sends each battery as a MAVLink component (180 and up) of the vehicle's own system.
  This script passes each one to a battery monitor of type 29 (Scripting): failsafes, arming checks,
  OSD, logs and MOT_BAT_CURR_MAX then use the values of the fuel gauge. Arming is refused, with the
  reason, while a battery sends no data, has a fault or a critical state, or the service reports
  no-go. When the service requests a current limit, MOT_BAT_CURR_MAX is lowered in memory, never
  saved, and restored three seconds after the last request. The script changes no mode, does not
  disarm and does not cut thrust.

  Requirements: SCR_ENABLE 1, BATT_MONITOR 29 (BATT2_MONITOR 29 for a second battery), this file in
  APM/scripts on the card. BMS_BATT is the first battery monitor to fill (1); BMS_VETO 0 turns the
  arming check off.

  ArduPilot has one inbox for the MAVLink messages of all scripts. If another script has called
  mavlink:init() before, this one reports that and does not start, because a second call can write
  beyond the inbox. If another script calls it later, this one reports that and continues as far as
  possible. Remove one of the two, or let one script do the work of both.

  Units: V, A, mAh, degrees Celsius; milliseconds of the flight controller.
--]]

local VERSION = 1
local FIRST_COMPONENT, LAST_COMPONENT = 180, 188
local BATTERY_STATUS, SMART_BATTERY_INFO, NAMED_VALUE_FLOAT, STATUSTEXT = 147, 370, 251, 253
local MESSAGES = {BATTERY_STATUS, SMART_BATTERY_INFO, NAMED_VALUE_FLOAT, STATUSTEXT}
local PAYLOAD = 13        -- offset in mavlink_message_t
local STATUS_FORMAT = '<i4i4i2' .. ('I2'):rep(10) .. 'i2BBBi1i4B' .. ('I2'):rep(4) .. 'BI4'
local INBOX = 25          -- messages, the maximum of ArduPilot
local PER_RUN = 8         -- messages: SCR_VM_I_COUNT, 10000 instructions, ends a script
local PERIOD_MS = 50
local MAX_AGE_MS = 3000   -- of battery data and of a current limit
local HEARTBEAT_MS = 1000
local UNUSED_MV = 65535
local CELL_MAX_MV = 5000  -- a higher value is the voltage of a pack
local FAULTS = {[0] = 'deep discharge', 'voltage spikes', 'cell failed', 'over-current', 'too hot',
  'too cold', 'wrong voltage', 'wrong firmware', 'wrong cells'}
local STATES = {[3] = 'critical', [4] = 'emergency', [5] = 'failed', [6] = 'unhealthy'}
local NOTICE, WARNING, ERROR = 5, 4, 3
local LIMIT_TC_S = 1      -- ArduPilot's default of 5 s is slow

local TABLE_KEY = 147
assert(param:add_table(TABLE_KEY, 'BMS_', 2), 'dronebms: no room for parameters')
assert(param:add_param(TABLE_KEY, 1, 'BATT', 1), 'dronebms: no room for BMS_BATT')
assert(param:add_param(TABLE_KEY, 2, 'VETO', 1), 'dronebms: no room for BMS_VETO')

local BATT, VETO = Parameter('BMS_BATT'), Parameter('BMS_VETO')

local packs = {}          -- by component: received_ms, cells, cycles, state, faults
local service = {}        -- no_go, reason, limit_a, limit_ms
local channel             -- of the last message of the service
local original = nil      -- parameters by name, before they were changed
local limit_a = nil       -- set now
local auth_id = nil
local beat_ms = nil
local own_system = nil
local warned = {}         -- warnings sent, each once

local function send_text(severity, text)
  gcs:send_text(severity, ('dronebms: ' .. text):sub(1, 50))
end

local function warn_once(text)
  if not warned[text] then
    warned[text] = true
    send_text(WARNING, text)
  end
end

local function since(ms)
  return (millis() - ms):toint()
end

local function fresh(ms)
  return ms ~= nil and since(ms) < MAX_AGE_MS
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
  -- Cells that have become unknown are cleared: ArduPilot would show the last values for ever.
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

  pack.state, pack.faults, pack.received_ms = state, faults, millis()
  local instance = math.floor(BATT:get()) - 1 + index
  if instance < 0 or not battery:handle_scripting(instance, values) then
    warn_once(string.format('set BATT%s_MONITOR to 29', instance > 0 and instance + 1 or ''))
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
    service.limit_a = value > 0 and value or nil  -- also for NaN
    service.limit_ms = millis()
  elseif name == 'BMS_NOGO' then
    service.no_go = value > 0
  end
end

local function on_text(message)
  local text = string.unpack('c50', message, PAYLOAD + 1):gsub('\0.*', '')
  if text:sub(1, 7) == 'no go: ' then service.reason = text:sub(8) end
end

local function receive()
  for _ = 1, PER_RUN do
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

local function refusal()
  -- Reason against arming, nil for none.
  if next(packs) == nil then return 'no battery data' end
  for component = FIRST_COMPONENT, LAST_COMPONENT do
    local pack = packs[component]
    if pack then
      local name = 'battery ' .. (component - FIRST_COMPONENT + 1)
      if not fresh(pack.received_ms) then return name .. ': no data' end
      for bit = 0, 8 do
        if pack.faults & (1 << bit) ~= 0 then return name .. ': ' .. FAULTS[bit] end
      end
      if pack.faults ~= 0 then return name .. ': fault' end
      if STATES[pack.state] then return name .. ': ' .. STATES[pack.state] end
    end
  end
  if service.no_go then return service.reason or 'no go' end
  return nil
end

local function check_arming()
  if not auth_id then return end
  local reason = refusal()
  if reason then
    arming:set_aux_auth_failed(auth_id, reason:sub(1, 41))
  else
    arming:set_aux_auth_passed(auth_id)
  end
end

local function restore()
  if not original then return end
  for name, value in pairs(original) do
    if not param:set(name, value) then warn_once('cannot restore ' .. name) end
  end
  original = nil
  limit_a = nil
  send_text(NOTICE, 'current limit restored')
end

local function limit_current()
  local new_a = fresh(service.limit_ms) and arming:is_armed() and service.limit_a
  if not new_a then return restore() end
  if not original then
    local max_a, tc_s = param:get('MOT_BAT_CURR_MAX'), param:get('MOT_BAT_CURR_TC')
    if not max_a or not tc_s then return warn_once('no MOT_BAT_CURR_MAX, no current limit') end
    original = {MOT_BAT_CURR_MAX = max_a, MOT_BAT_CURR_TC = tc_s}
    send_text(WARNING, string.format('current limited to %.0f A', new_a))
  end
  -- A limit of the user is never raised.
  if original.MOT_BAT_CURR_MAX > 0 then new_a = math.min(new_a, original.MOT_BAT_CURR_MAX) end
  if new_a ~= limit_a and param:set('MOT_BAT_CURR_MAX', new_a) then
    limit_a = new_a
    param:set('MOT_BAT_CURR_TC', LIMIT_TC_S)
  end
end

local function send(name, value)
  -- NAMED_VALUE_FLOAT to the service only.
  mavlink:send_chan(channel, NAMED_VALUE_FLOAT,
    string.pack('<I4fc10', millis():toint(), value, name))
end

local function is_new_to_inbox()
  -- Register the missing messages; true if any was missing.
  local new = false
  for _, number in ipairs(MESSAGES) do
    local ok, added = pcall(mavlink.register_rx_msgid, mavlink, number)
    new = new or not ok or added
  end
  return new
end

local function each_second()
  own_system = param:get('MAV_SYSID') or param:get('SYSID_THISMAV')
  if is_new_to_inbox() then warn_once('another script took the MAVLink inbox') end
  beat_ms = millis()
  if channel then
    send('BMS_LUA', VERSION)
    send('BMS_LIM', limit_a or 0)
  end
end

local function work()
  if not beat_ms or since(beat_ms) >= HEARTBEAT_MS then each_second() end
  receive()
  check_arming()
  limit_current()
end

local function update()
  -- An uncaught error would end the script permanently.
  local ok, message = pcall(work)
  if not ok then warn_once(tostring(message)) end
  return update, PERIOD_MS
end

-- An inbox may exist: of this script before a restart of scripting, or of another script, whose
-- list of messages a second init with more messages would overrun (lua_mavlink_init).
if not pcall(mavlink.receive_chan, mavlink) then
  mavlink:init(INBOX, INBOX)  -- room for a later init of another script
  is_new_to_inbox()
elseif is_new_to_inbox() then
  send_text(ERROR, 'not started: another script uses MAVLink')
  return
end
if VETO:get() > 0 then auth_id = arming:get_aux_auth_id() end
send_text(NOTICE, 'driver ' .. VERSION .. ' started')
return update, PERIOD_MS
