"""Which test walks which deed of the dashboard; each walk proves that it has set off its own."""

from collections.abc import Mapping
from typing import Final

_WALKS: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "test_actions_on_batches.py": {
        "test_what_gathers_is_sent_at_once": ("batches: send",),
        "test_files_of_a_batch_are_deleted_and_its_results_stay": (
            "batches: forget", "batches/*: forget",
        ),
        "test_a_cancelled_batch_ends_at_the_provider_and_its_requests_are_delivered": (
            "batches: cancel", "batches/*: cancel",
        ),
        "test_a_refused_batch_is_restarted_and_pays_nothing_twice": (
            "batches: restart", "batches/*: restart",
        ),
        "test_dead_letters_of_a_batch_arrive_when_their_receiver_takes_them": (
            "batches: redeliver", "batches/*: redeliver",
        ),
        "test_a_lane_without_room_is_sent_from_its_batch_and_its_learned_limit_forgotten": (
            "batches/*: send", "settings: forget-limit",
        ),
    },
    "test_actions_on_requests.py": {
        "test_ticked_requests_are_cancelled_and_run_again_until_they_have_an_answer": (
            "requests: cancel", "requests: again",
        ),
        "test_all_that_match_are_meant_beyond_the_rows_that_are_shown": ("requests: redeliver",),
        "test_a_request_at_the_provider_is_cancelled_from_its_page": ("requests/*: cancel",),
        "test_a_failed_request_runs_again_from_its_page": ("requests/*: again",),
        "test_a_dead_letter_is_redelivered_from_the_page_of_its_request": (
            "requests/*: redeliver",
        ),
        "test_a_result_goes_where_its_edited_delivery_says": ("requests/*: edit",),
    },
    "test_actions_on_deliveries.py": {
        "test_single_dead_letters_are_redelivered_or_discarded_and_the_rest_by_their_group": (
            "deliveries: redeliver", "deliveries: discard", "deliveries: redeliver-group",
        ),
        "test_a_group_is_discarded_and_what_came_since_a_time_redelivered": (
            "deliveries: discard-group", "deliveries: redeliver-since",
        ),
        "test_a_paused_destination_gets_nothing_until_it_is_resumed": (
            "deliveries: pause", "deliveries: resume", "deliveries: pause-all",
            "deliveries: resume-all",
        ),
        "test_a_destination_that_said_it_is_gone_is_enabled_and_gets_its_result": (
            "deliveries: enable",
        ),
    },
    "test_actions_on_jobs.py": {
        "test_a_paused_job_stays_while_others_of_its_model_go_and_is_sent_when_resumed": (
            "jobs: pause", "jobs: resume", "jobs: send", "jobs/*: pause", "jobs/*: resume",
            "jobs/*: send",
        ),
        "test_what_waits_of_a_cancelled_job_is_delivered_as_cancelled": (
            "jobs: cancel", "jobs/*: cancel",
        ),
        "test_dead_letters_of_a_job_are_redelivered_and_then_everything": (
            "jobs: redeliver", "jobs/*: redeliver", "jobs/*: redeliver-all",
        ),
        "test_failed_requests_of_a_job_are_retried_and_nothing_else_is_paid_again": (
            "jobs/*: retry-failed",
        ),
    },
    "test_actions_on_files.py": {
        "test_one_request_and_made_up_ones_are_written_in_the_browser": (
            "upload: send-one", "upload: samples",
        ),
        "test_a_chosen_file_is_sent_once_again_only_if_asked_and_not_if_discarded": (
            "upload/*: start", "upload/*: start-again", "upload/*: discard", "upload: discard",
        ),
    },
    "test_actions_on_settings.py": {
        "test_paused_intake_refuses_requests_until_it_is_resumed_here_or_on_any_page": (
            "settings: pause-intake", "settings: resume-intake", "frame: resume-intake",
        ),
        "test_a_paused_model_sends_nothing_while_others_do_and_so_do_all_of_them": (
            "settings: pause-lane", "settings: resume-lane", "settings: pause-submission",
            "settings: resume-submission",
        ),
        "test_a_paused_destination_waits_for_its_results_and_so_do_all_of_them": (
            "settings: pause-target", "settings: resume-target", "settings: pause-delivery",
            "settings: resume-delivery",
        ),
        "test_a_cap_lets_no_more_tokens_be_enqueued_until_it_is_reset": (
            "settings: set-cap", "settings: reset-cap",
        ),
        "test_what_is_no_part_of_the_ledger_is_seen_at_another_look": ("settings: look-again",),
        "test_a_part_of_a_page_that_cannot_be_read_is_tried_again": ("frame: retry",),
    },
    "test_actions_and_rights.py": {
        "test_a_token_that_was_made_is_good_until_it_is_revoked": (
            "settings: create-token", "settings: revoke-token",
        ),
    },
}  # fmt: skip

WALKED: Final[Mapping[str, tuple[str, str]]] = {
    deed: (file, test)
    for file, tests in _WALKS.items()
    for test, deeds in tests.items()
    for deed in deeds
}
"""The file and the test of each deed."""
