"""SIGKILL at named points on the way of files and in what operators do, then a rerun.

Nothing is lost, bought or delivered twice, and everything ends as it does undisturbed.
"""

from collections.abc import Callable

import pytest
from crash_operator_stories import OPERATORS
from crash_proof import Teller, teller  # noqa: F401 - a fixture
from crash_samples import Coverage, kill_again, kill_all, kill_some
from crash_stories import FILES, Story

STORIES = [*FILES, *OPERATORS]
FLOWS = {"ingest", "submit", "track", "deliver", "upkeep", "command", "rebuild"}
SEAMS = {"commit", "close", "replace", "unlink", "write", "sync", "provider"}
SHARED, WHOLE = Coverage(wanted=frozenset(FLOWS)), Coverage()
by_name = pytest.mark.parametrize("story", STORIES, ids=[story.name for story in STORIES])


@pytest.mark.slow
@pytest.mark.timeout(300)
@by_name
def test_a_kill_at_some_point_of_a_story_changes_nothing_of_its_end(
    story: Story,
    teller: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    proven(**kill_some(teller, SHARED, story))


@pytest.mark.soak
@pytest.mark.timeout(900)
@by_name
def test_a_kill_at_each_point_of_a_story_changes_nothing_of_its_end(
    story: Story,
    teller: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    proven(**kill_all(teller, WHOLE, story))


@pytest.mark.soak
@pytest.mark.timeout(300)
@by_name
def test_a_second_kill_soon_after_the_first_changes_nothing_either(
    story: Story,
    teller: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    for seed in range(3):
        proven(**kill_again(teller, story, seed=seed))


@pytest.mark.slow
def test_the_share_has_points_of_each_flow_and_each_kind() -> None:
    if len(SHARED.stories) < len(STORIES):
        pytest.skip("says something about all stories of this module together only")

    assert {flow for flow, _ in SHARED.kinds} >= FLOWS
    assert {kind.split()[0] for _, kind in SHARED.kinds} >= SEAMS
