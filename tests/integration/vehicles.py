# SPDX-License-Identifier: Apache-2.0
"""Simulated planes, quadplanes, rovers and submarines of ArduPilot, each with its own take-off."""

import math

from pymavlink.dialects.v20 import ardupilotmega as mavlink

from tests.integration.ardupilot import DRIVER, HOME_DEG, M_PER_DEG, ArduPilot


class Plane(ArduPilot):
    """A fixed wing, which takes off in TAKEOFF and circles at the end of it."""

    name, variable, model = "ArduPlane", "DRONEBMS_ARDUPLANE", "plane"
    manual, cruise, loiter, rtl, auto, takeoff, autoland = 0, 7, 12, 11, 10, 13, 26
    guided = takeoff
    own = """
THR_FAILSAFE 0
FS_LONG_ACTN 0\nFS_SHORT_ACTN 3
ARSPD_USE 1
AIRSPEED_CRUISE 22\nAIRSPEED_MIN 10\nAIRSPEED_MAX 30
PTCH_LIM_MAX_DEG 25\nPTCH_LIM_MIN_DEG -20\nROLL_LIMIT_DEG 65
RLL_RATE_FF 0.237\nRLL_RATE_P 0.3\nRLL_RATE_I 0.25\nRLL_RATE_D 0.017
PTCH_RATE_FF 0.596\nPTCH_RATE_P 0.15\nPTCH_RATE_I 0.11\nPTCH_RATE_D 0.007
WP_LOITER_RAD 80\nTRIM_THROTTLE 50
TKOFF_ALT 40
"""
    driver = DRIVER + "BATT_FS_LOW_ACT 1\nBATT_FS_CRT_ACT 2\n"

    def set_off(self) -> None:
        """Take off."""
        self.arm()
        self.until(lambda: self.height_m > 35.0, 90.0, "height")


class QuadPlane(ArduPilot):
    """A fixed wing with four lift motors, which hovers after its take-off."""

    name, variable, model = "QuadPlane", "DRONEBMS_ARDUPLANE", "quadplane"
    guided, qstabilize, qloiter, qland, qrtl, rtl, auto = 15, 17, 19, 20, 21, 11, 10
    own = """
THR_FAILSAFE 0
FS_LONG_ACTN 0\nFS_SHORT_ACTN 3
ARSPD_USE 1
AIRSPEED_CRUISE 25\nAIRSPEED_MIN 13\nAIRSPEED_MAX 35
PTCH_LIM_MAX_DEG 30\nPTCH_LIM_MIN_DEG -30\nROLL_LIMIT_DEG 65
RLL_RATE_FF 0.553\nRLL_RATE_P 0.141\nRLL_RATE_I 0.212
PTCH_RATE_FF 1.407\nPTCH_RATE_P 0.31\nPTCH_RATE_I 0.212
Q_ENABLE 1\nQ_ASSIST_SPEED 18\nQ_M_THST_EXPO 0.65
Q_M_PWM_MIN 1000\nQ_M_PWM_MAX 2000\nQ_M_BAT_VOLT_MIN 9.6\nQ_M_BAT_VOLT_MAX 12.8
Q_A_RAT_RLL_P 0.108\nQ_A_RAT_RLL_I 0.108\nQ_A_RAT_RLL_D 0.001
Q_A_RAT_PIT_P 0.103\nQ_A_RAT_PIT_I 0.103\nQ_A_RAT_PIT_D 0.001
Q_A_RAT_YAW_P 0.2\nQ_A_RAT_YAW_I 0.02\nQ_A_ANG_RLL_P 6\nQ_A_ANG_PIT_P 6
SCHED_LOOP_RATE 300
"""
    driver = DRIVER + "BATT_FS_LOW_ACT 1\nBATT_FS_CRT_ACT 4\n"

    def go_away(self, north_m: float, height_m: float = 20.0) -> None:
        """Command a place north of home; ArduPlane takes it as a reposition."""
        lat_raw = round((HOME_DEG[0] + north_m / M_PER_DEG) * 1e7)
        frame, number = mavlink.MAV_FRAME_GLOBAL_RELATIVE_ALT_INT, mavlink.MAV_CMD_DO_REPOSITION
        self.send(
            mavlink.MAVLink_command_int_message(
                *(self.system, 1, frame, number, 0, 0, -1.0, 1.0, 0.0, math.nan),
                *(lat_raw, round(HOME_DEG[1] * 1e7), height_m),
            )
        )

    def set_off(self) -> None:
        """Take off on the lift motors."""
        self.arm()
        assert self.command(22, 0, 0, 0, 0, 0, 0, 20.0) == 0
        self.until(lambda: self.height_m > 18.0, 90.0, "height")


class Rover(ArduPilot):
    """A car, which drives away from home in GUIDED."""

    name, variable, model = "Rover", "DRONEBMS_ARDUROVER", "rover"
    guided, hold, loiter, rtl, smart_rtl, auto = 15, 4, 5, 11, 12, 10
    own = """
FS_THR_ENABLE 0\nFS_GCS_ENABLE 0\nFS_ACTION 0
ATC_SPEED_P 0.1\nATC_STR_RAT_FF 0.75
CRUISE_SPEED 5\nCRUISE_THROTTLE 30
WP_SPEED 5\nWP_RADIUS 3
SERVO1_MIN 1000\nSERVO1_MAX 2000\nSERVO3_MIN 1000\nSERVO3_MAX 2000
"""
    driver = DRIVER + "BATT_FS_LOW_ACT 3\nBATT_FS_CRT_ACT 2\n"

    def set_off(self) -> None:
        """Arm and drive away until it is fast."""
        self.arm()
        self.go_away(200.0)
        self.until(lambda: self.ground_m_s > 4.0, 60.0, "speed")


class Sub(ArduPilot):
    """A submarine with six thrusters, which dives in ALT_HOLD."""

    name, variable, model = "ArduSub", "DRONEBMS_ARDUSUB", "vectored"
    guided = alt_hold = 2
    field_m = 0.0
    stabilize, surface, manual, auto = 0, 9, 19, 3
    own = """
FS_PILOT_INPUT 0\nFS_GCS_ENABLE 0\nFS_LEAK_ENABLE 0
RC5_TRIM 1500\nRC6_TRIM 1500
PSC_ACCZ_P 2\nPSC_ACCZ_I 4\nPSC_ACCZ_FF 0.75\nPSC_VELZ_P 8\nPSC_POSZ_P 3
BARO_EXT_BUS 1\nSIM_BARO_RND 0.02
"""
    driver = DRIVER + "BATT_FS_LOW_ACT 3\nBATT_FS_CRT_ACT 3\n"

    def set_off(self) -> None:
        """Arm and dive."""
        self.arm()

        def deep() -> bool:
            self.throttle(1200)
            return self.height_m < -10.0

        self.until(deep, 90.0, "depth")
        self.throttle(1500)
