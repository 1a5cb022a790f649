# SPDX-License-Identifier: Apache-2.0
"""Rows of docs/quality.md that no program measures: rules, fuzzed parsers, clauses of standards."""

from dataclasses import dataclass
from typing import Literal

State = Literal["done", "open", "exempt"]


@dataclass(frozen=True)
class Rule:
    """A rule of the project, and what proves that it is kept."""

    text: str
    state: State
    proof: tuple[str, ...] = ()  # names of tests, paths of files
    reason: str = ""  # why it is open or exempt


@dataclass(frozen=True)
class Parser:
    """What reads bytes or text from outside, and the tests that feed it random ones."""

    room: str
    reads: str
    tests: tuple[str, ...]


@dataclass(frozen=True)
class Clause:
    """A clause of a standard and the tests that show what this software adds to it."""

    standard: str
    clause: str
    asks: str
    tests: tuple[str, ...] = ()
    note: str = ""


# How much of each standard was read.
READ = {
    "EU 2019/945": "excerpts; the wording and the number of the point were not compared",
    "EN 4709-001": "abstract",
    "ASTM F3005-22": "abstract and scope",
    "ASTM F3201-16": "abstract and scope",
    "ASTM F3269-21": "abstract, scope and significance",
}

RULES = (
    Rule("Imports between rooms point down only; a third-party package has one owner", "done", ("pyproject.toml", "tests/test_architecture.py")),
    Rule("Types are checked strictly, in tests and tools too", "done", ("pyproject.toml",)),
    Rule("One module reads a clock; time is an argument everywhere else", "done", ("pyproject.toml", "dronebms/core/clock.py")),
    Rule("Module state does not change", "done", ("tests/lint/module_state.py",)),
    Rule("Every branch of what reads a gauge, protects a pack or sends to a flight controller has a test in its room", "done", ("Makefile",)),
    Rule("A register is decoded from bytes that others recorded", "done", ("tests/data/VECTORS.md", "tests/smartbattery/test_registers.py")),
    Rule("Each protocol has one suite of tests for all its implementations", "done", ("tests/contracts/test_bus.py", "tests/contracts/test_source.py", "tests/contracts/test_clock.py", "tests/contracts/test_pack_history.py")),
    Rule("Each promise of safety names a test", "done", ("test_every_promise_names_what_holds_it",)),
    Rule("Unknown is None; no percentage and no time is invented", "done", ("test_with_neither_current_nor_charge_no_percentage_and_no_time_are_invented", "test_without_a_percentage_all_is_unknown")),
    Rule("Reading never writes a setting of a gauge", "done", ("tests/smartbattery/test_smbus.py",)),
    Rule("A pilot is never overruled", "done", ("test_no_pilot_is_overruled_and_nothing_more_urgent_replaced",)),
    Rule("Every parser of bytes or files from outside is fed random ones", "done", ("test_random_bytes_never_raise_and_the_next_messages_are_received", "test_damaged_bytes_are_a_log_or_one_sentence", "test_a_mutated_file_ends_in_an_exit_code_and_sentences")),
    Rule("Every parser is fuzzed for 24 h, guided by coverage", "open", reason="the time so far stands under random input"),
    Rule("A recording replays to the identical decisions", "done", ("test_a_recording_replays_to_the_same_decisions", "test_the_recording_replays_to_the_identical_predictions")),
    Rule("One seed gives one output", "done", ("test_one_seed_gives_equal_output_at_any_speed_and_with_any_link",)),
    Rule("A full disk or a deleted folder loses nothing else", "done", ("test_a_disk_that_is_really_full_stops_the_recording_and_nothing_else", "test_a_recording_that_is_deleted_in_flight_loses_nothing")),
    Rule("A reload changes all or nothing and ends no flight", "done", ("test_any_exception_of_a_reload_is_logged_in_one_sentence_and_changes_nothing",)),
    Rule("Programs of others are the judges: MAVSDK, the kernel's I2C, ArduPilot, PX4, a broker, a browser", "done", ("tests/integration/test_mavsdk.py", "tests/integration/test_kernel_i2c.py", "tests/integration/test_ardupilot.py", "tests/integration/test_px4.py", "tests/integration/test_mqtt.py", "tests/integration/test_web.py")),
    Rule("Tables of the documentation are made from the code; links, programs and tests that it names exist", "done", ("tests/docs_build/test_generated.py", "tests/test_docs_links.py", "tests/test_docs_programs.py")),
    Rule("Each key of the configuration has a description, and a schema that another program reads", "done", ("test_every_key_of_the_schema_has_a_description", "test_the_schema_refuses_what_the_models_refuse")),
    Rule("An older configuration, state, recording and history serve this version", "done", ("test_a_recording_of_an_older_version_replays_to_the_same_lines", "CHANGELOG.md")),
    Rule("It was measured on a real aircraft", "open", reason="simulated packs and vehicles, the kernel's I2C stub, recorded flights"),
    Rule("Power or thrust can be cut only by a deliberate command", "exempt", reason="nothing in it can cut power or thrust"),
    Rule("Texts are translated", "exempt", reason="MAVLink's STATUSTEXT and the logs are English"),
)  # fmt: skip

PARSERS = (
    Parser("smartbattery", "replies of a gauge", ("test_well_formed_nonsense_leaves_only_plausible_values", "test_noise_from_the_first_bit_on_never_costs_the_pec_or_a_cell")),
    Parser("mavlink_bridge", "MAVLink frames and missions", ("test_random_bytes_never_raise_and_the_next_messages_are_received", "test_random_requests_never_raise", "test_random_mission_messages_publish_nothing_that_is_not_whole", "test_hostile_frames_raise_nothing_and_change_nothing")),
    Parser("dronecan", "CAN frames", ("test_random_contents_never_raise_and_no_value_is_out_of_its_range", "test_garbage_and_damaged_messages_change_nothing")),
    Parser("flightlogs", "logs of autopilots, CSV", ("test_damaged_bytes_are_a_log_or_one_sentence", "test_a_mutated_log_is_a_flight_or_one_sentence")),
    Parser("cli", "every file that a command reads", ("test_a_mutated_file_ends_in_an_exit_code_and_sentences",)),
    Parser("recording", "recordings", ("test_a_crafted_recording_is_replayed_or_refused_in_one_sentence",)),
    Parser("health", "pack histories of other computers", ("test_any_mutated_file_is_imported_or_refused_in_sentences",)),
)  # fmt: skip

CLAUSES = (
    Clause("EU 2019/945", "Annex, Parts 2 to 4 (C1, C2, C3): battery warning", "a clear warning to the remote pilot at a low level of the aircraft's battery, in time to land safely", ("test_a_fault_misses_no_action_and_causes_none", "test_no_limit_lets_a_pack_go_before_it_trips", "test_short_faults_of_an_estimate_never_land_a_vehicle"), "the ground station shows the warning; the battery of the control station is not read"),
    Clause("EU 2019/945", "Annex, Parts 2 to 4: controllable after the failure of a system", "control after the failure of one system", ("test_a_link_that_takes_nothing_delays_nothing_on_the_other", "test_a_stalled_process_blames_nothing_and_acts_on_nothing"), "the part of a companion computer: its own failure leaves the flight controller's failsafe"),
    Clause("EN 4709-001", "verification of the requirements of EU 2019/945", "methods of test and pass criteria for the above", (), "not read: no claim"),
    Clause("ASTM F3005-22", "maintenance of the pack and the recording of maintenance data", "records of the use and the health of a pack", ("test_swaps_and_nothing_else_change_the_pack_over_random_days",), "the pack history; cells, mechanics and assembly are those of the maker"),
    Clause("ASTM F3201-16", "1.2 (b) use of the software in the system, its architecture, its part in safety and security", "architecture and hazards", ("test_every_promise_names_what_holds_it", "test_no_unsigned_request_changes_a_setting_in_flight"), ""),
    Clause("ASTM F3201-16", "1.2 (c) metrics and design analysis", "metrics of the code", ("test_every_generated_file_is_up_to_date",), "this page"),
    Clause("ASTM F3201-16", "1.2 (f) testing of the software", "tests", ("test_a_fault_misses_no_action_and_causes_none",), "coverage, mutation score and campaigns above"),
    Clause("ASTM F3201-16", "1.2 (a, d, e) organisation, code review, quality assurance", "management, review, assurance", (), "open: no procedure is written"),
    Clause("ASTM F3269-21", "4.1 an assured monitor of a complex function", "limits that do not rest on the complex function", ("test_no_estimate_however_good_delays_a_critical_limit", "test_no_estimate_however_good_hides_the_silence_of_the_gauge",), "limits of voltage, current, heat and silence need no estimate"),
    Clause("ASTM F3269-21", "recovery function", "a recovery that is chosen by the monitor", ("test_no_pilot_is_overruled_and_nothing_more_urgent_replaced", "test_a_due_landing_is_never_missed"), "return and land of the flight controller"),
)  # fmt: skip
