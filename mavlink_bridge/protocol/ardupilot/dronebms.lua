-- SPDX-License-Identifier: Apache-2.0
--[[
  dronebms.lua, version 2: battery driver of a dronebms service for ArduPilot 4.5 and newer.

  The service is an onboard computer (component 191 unless configured) of the vehicle's own system,
  its batteries are components 180 and 181. This script passes each battery to a battery monitor of
  type 29 (Scripting): failsafes, arming checks, OSD, logs and MOT_BAT_CURR_MAX then use the values
  of the fuel gauge. Arming is refused, with the reason, while a battery sends no data, has a fault
  or a critical state, or the service reports no-go or is silent. When the service requests a
  current limit, MOT_BAT_CURR_MAX (of a quadplane Q_M_BAT_CURR_MAX) is lowered in memory, never
  saved, and restored three seconds after the last request. The script changes no mode, does not disarm and does not cut thrust.

  The first component that sends the command of the service (MAV_CMD_USER_5 to the autopilot, with
  this version) is the service from then on, on the link on which it came; BMS_LINK 0 to 5 names
  that link. Batteries and commands on other links, or of other components, are ignored. A second
  sender that uses our components is reported, and no arming is permitted for ten seconds.

  Requirements: SCR_ENABLE 1, BATT_MONITOR 29 (BATT2_MONITOR 29 for a second battery), this file in
  APM/scripts on the card. BMS_BATT is the first battery monitor to fill (1); BMS_VETO 0 turns the
  arming check off; BMS_LINK -1 takes the link of the first service.

  ArduPilot has one inbox for the MAVLink messages of all scripts. If another script has called
  mavlink:init() before, this one reports that and does not start, because a second call can write
  beyond the inbox. If another script calls it later, this one reports that and continues as far as
  possible. Remove one of the two, or let one script do the work of both.

  Units: V, A, mAh, degrees Celsius; milliseconds of the flight controller.
--]]

local VERSION = 2         -- also of the commands of the service
local FIRST_COMPONENT, LAST_COMPONENT = 180, 181
local AUTOPILOT = 1       -- component of ArduPilot
local BATTERY_STATUS, SMART_BATTERY_INFO, STATUSTEXT = 147, 370, 253
local COMMAND_LONG, COMMAND_ACK = 76, 77
local MESSAGES = {BATTERY_STATUS, SMART_BATTERY_INFO, COMMAND_LONG, STATUSTEXT}
local SERVICE_COMMAND = 31014  -- MAV_CMD_USER_5
local VERDICT, LIMIT = 1, 2    -- param2: meaning of the others
local ACCEPTED, DENIED = 0, 2
local OTHER_LINK, SAME_LINK = 1, 2  -- bits of the warnings in an acknowledgement
local BACKWARD_MAX = 3    -- sequence numbers in ten seconds; a restart is one
local WARNING_MS = 10000
local BATTERIES_MAX = 9
local RECENT = 6          -- frames of a component, to know those that come back
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
local MOTORS = {'MOT_', 'Q_M_'}  -- of ArduCopter and ArduSub, of a quadplane

local TABLE_KEY = 147
assert(param:add_table(TABLE_KEY, 'BMS_', 3), 'dronebms: no room for parameters')
assert(param:add_param(TABLE_KEY, 1, 'BATT', 1), 'dronebms: no room for BMS_BATT')
assert(param:add_param(TABLE_KEY, 2, 'VETO', 1), 'dronebms: no room for BMS_VETO')
assert(param:add_param(TABLE_KEY, 3, 'LINK', -1), 'dronebms: no room for BMS_LINK')

local BATT, VETO, LINK = Parameter('BMS_BATT'), Parameter('BMS_VETO'), Parameter('BMS_LINK')

local packs = {}          -- by index from 0: received_ms, cycles, state, faults
local service = {batteries = 0}  -- component, channel; verdict_ms, no_go, reason, batteries,
                          -- first_id, limit_a, limit_ms
local sequences = {}      -- by component: number, backward, since_ms
local recent = {}         -- by component: the last frames
local warning_bits = 0
local warning_ms = nil    -- last second sender
local original = nil      -- parameters by name, before they were changed
local motors, user_a = nil, nil  -- prefix of these parameters, and the limit among them
local limit_a = nil       -- set now
local ours = {}           -- values by name that this script has set
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

-- Index of a battery and what is known of it, by its id.
local function pack_of(id)
  local index = id - (service.first_id or -1)
  if not service.first_id or index < 0 or index >= service.batteries then return end
  packs[index] = packs[index] or {}
  return index, packs[index]
end

local function on_status(message)
  local f = {string.unpack(STATUS_FORMAT, message, PAYLOAD)}
  local index, pack = pack_of(f[15])
  if not pack then return end
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
  -- With 0 cells ArduPilot uses the pack voltage, and not the last cells that it received.
  local known = largest > CELL_MAX_MV and 0 or #cells
  values:cell_count(known)
  for i = 1, known do
    values:cell_voltages(i - 1, cells[i])
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

local function on_info(message)
  local id = string.unpack('<B', message, PAYLOAD + 18)
  local _, pack = pack_of(id)
  local cycles = string.unpack('<I2', message, PAYLOAD + 8)
  if pack and cycles ~= 65535 then pack.cycles = cycles end
end

local function on_text(message)
  local text = string.unpack('c50', message, PAYLOAD + 1):gsub('\0.*', '')
  if text:sub(1, 7) == 'no go: ' then service.reason = text:sub(8) end
end

local function is_battery(component)
  return component >= FIRST_COMPONENT and component <= LAST_COMPONENT
end

local function warn_of_second(bit, component, chan)
  warning_bits = warning_bits | bit
  if is_battery(component) then warning_ms = millis() end
  warn_once(string.format('second sender of %d on link %d', component, chan))
end

-- A router may send our own frames back on another link.
local function is_known(component, message)
  local frame = message:sub(3, PAYLOAD - 1 + message:byte(4))
  local frames = recent[component] or {}
  recent[component] = frames
  for _, known in ipairs(frames) do
    if known == frame then return true end
  end
  frames[frames.next or 1] = frame
  frames.next = (frames.next or 1) % RECENT + 1
  return false
end

local function check_sequence(component, number)
  -- Each component counts its frames: two senders of one component alternate between two counts.
  local known = sequences[component]
  if not known or since(known.since_ms) >= WARNING_MS then
    known = {number = known and known.number or number, backward = 0, since_ms = millis()}
    sequences[component] = known
  end
  if (number - known.number) & 0xFF >= 128 then
    known.backward = known.backward + 1
    if known.backward >= BACKWARD_MAX then
      warn_of_second(SAME_LINK, component, service.channel)
    end
  end
  known.number = number
end

local function on_command(message, component, chan)
  local version, what, value, batteries, first_id, _, _, command, to_system, to_component =
    string.unpack('<fffffffI2BB', message, PAYLOAD)
  if command ~= SERVICE_COMMAND or to_system ~= own_system or to_component ~= AUTOPILOT then
    return
  end
  local link = LINK:get()
  local result = DENIED
  if version ~= VERSION then
    warn_once(string.format('driver %d, service %.0f: update one', VERSION, version))
  elseif not service.component and link >= 0 and link ~= chan then
    warn_once(string.format('service on link %d, not BMS_LINK %.0f', chan, link))
  elseif not service.component then
    service.component, service.channel = component, chan
    send_text(NOTICE, string.format('service %d on link %d', component, chan))
  end
  if service.component == component and service.channel == chan then
    result = ACCEPTED
    if what == VERDICT then
      service.verdict_ms, service.no_go = millis(), value ~= 0
      service.batteries = math.floor(math.max(0, math.min(batteries, BATTERIES_MAX)))
      service.reports_none = batteries < 0  -- monitors of the vehicle measure all of them
      service.first_id = first_id >= 0 and math.floor(first_id) or nil
    elseif what == LIMIT then
      service.limit_a = value > 0 and value or nil  -- also for NaN
      service.limit_ms = millis()
    end
  elseif service.component then
    warn_of_second(OTHER_LINK, component, chan)
  end
  mavlink:send_chan(chan, COMMAND_ACK, string.pack('<I2BBi4BB', SERVICE_COMMAND, result, VERSION,
    warning_bits, own_system, component))
end

local function receive()
  for _ = 1, PER_RUN do
    local message, chan = mavlink:receive_chan()
    if not message then return end
    local sequence, system, component, number = string.unpack('<BBBI3', message, 7)
    if system ~= own_system then
      -- another vehicle, or a ground station
    elseif number == COMMAND_LONG then
      on_command(message, component, chan)
    elseif not service.component
        or not (is_battery(component) or component == service.component) then
      -- before the service is known, or another component
    elseif is_known(component, message) then
      -- sent once more by a router
    elseif chan ~= service.channel then
      warn_of_second(OTHER_LINK, component, chan)
    else
      check_sequence(component, sequence)
      if is_battery(component) and number == BATTERY_STATUS then
        on_status(message)
      elseif is_battery(component) and number == SMART_BATTERY_INFO then
        on_info(message)
      elseif number == STATUSTEXT and component == service.component then
        on_text(message)
      end
    end
  end
end

local function refusal()
  -- Reason against arming, nil for none.
  if not fresh(service.verdict_ms) then return 'no service' end
  if warning_ms and since(warning_ms) < WARNING_MS then return 'second sender of a battery' end
  if service.batteries == 0 and not service.reports_none then return 'no battery data' end
  for index = 0, service.batteries - 1 do
    local pack, name = packs[index], 'battery ' .. (index + 1)
    if not pack or not fresh(pack.received_ms) then return name .. ': no data' end
    for bit = 0, 8 do
      if pack.faults & (1 << bit) ~= 0 then return name .. ': ' .. FAULTS[bit] end
    end
    if pack.faults ~= 0 then return name .. ': fault' end
    if STATES[pack.state] then return name .. ': ' .. STATES[pack.state] end
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

-- A value that this script has not set is the user's: it is limited, and restored at the end.
local function take_user_values()
  for name, value in pairs(ours) do
    local now = param:get(name)
    if now and now ~= value then
      original[name] = now
      limit_a = nil
    end
  end
  user_a = original[motors .. 'BAT_CURR_MAX']
end

local function set(name, value)
  if not param:set(name, value) then return false end
  ours[name] = value
  return true
end

local function restore()
  if not original then return end
  take_user_values()
  for name, value in pairs(original) do
    if not param:set(name, value) then warn_once('cannot restore ' .. name) end
  end
  original = nil
  limit_a = nil
  ours = {}
  send_text(NOTICE, 'current limit restored')
end

local function limit_current()
  local new_a = fresh(service.limit_ms) and arming:is_armed() and service.limit_a
  if not new_a then return restore() end
  if not original then
    for _, prefix in ipairs(MOTORS) do
      local max_a, tc_s = param:get(prefix .. 'BAT_CURR_MAX'), param:get(prefix .. 'BAT_CURR_TC')
      if max_a and tc_s then
        original = {[prefix .. 'BAT_CURR_MAX'] = max_a, [prefix .. 'BAT_CURR_TC'] = tc_s}
        motors, user_a = prefix, max_a
      end
    end
    if not original then return warn_once('no MOT_BAT_CURR_MAX, no current limit') end
    send_text(WARNING, string.format('current limited to %.0f A', new_a))
  end
  take_user_values()
  -- A limit of the user is never raised.
  if user_a > 0 then new_a = math.min(new_a, user_a) end
  if new_a ~= limit_a and set(motors .. 'BAT_CURR_MAX', new_a) then
    limit_a = new_a
    set(motors .. 'BAT_CURR_TC', LIMIT_TC_S)
  end
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
mavlink:block_command(SERVICE_COMMAND)  -- ArduPilot would answer "unsupported"
if VETO:get() > 0 then auth_id = arming:get_aux_auth_id() end
send_text(NOTICE, 'driver ' .. VERSION .. ' started')
return update, PERIOD_MS
