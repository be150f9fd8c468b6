"""SIGKILL at named points of what comes in and goes out over REST, RabbitMQ and webhooks.

Nothing is lost, bought or delivered twice, and everything ends as it does undisturbed.
"""

from collections.abc import Callable

import pytest
from crash_door_stories import DOORS
from crash_proof import Teller, broker, teller_at_doors  # noqa: F401 - fixtures
from crash_samples import Coverage, kill_again, kill_all, kill_some
from crash_stories import Story

KINDS = frozenset({
    "webhook before", "webhook after", "rabbitmq publish before", "rabbitmq publish after",
    "rabbitmq confirm before", "rabbitmq ack before", "rabbitmq ack after", "answer before",
    "write half", "sync before", "replace before",
})  # fmt: skip
SHARED, WHOLE = Coverage(wanted=KINDS), Coverage()
by_name = pytest.mark.parametrize("story", DOORS, ids=[story.name for story in DOORS])


@pytest.mark.slow
@pytest.mark.timeout(300)
@by_name
def test_a_kill_at_some_point_of_a_story_changes_nothing_of_its_end(
    story: Story,
    teller_at_doors: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    proven(**kill_some(teller_at_doors, SHARED, story))


@pytest.mark.soak
@pytest.mark.timeout(900)
@by_name
def test_a_kill_at_each_point_of_a_story_changes_nothing_of_its_end(
    story: Story,
    teller_at_doors: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    proven(**kill_all(teller_at_doors, WHOLE, story))


@pytest.mark.soak
@pytest.mark.timeout(300)
@by_name
def test_a_second_kill_soon_after_the_first_changes_nothing_either(
    story: Story,
    teller_at_doors: Teller,  # noqa: F811 - the fixture
    proven: Callable[..., None],
) -> None:
    for seed in range(3):
        proven(**kill_again(teller_at_doors, story, seed=seed))


@pytest.mark.slow
def test_the_share_has_points_of_each_flow_and_each_kind() -> None:
    if len(SHARED.stories) < len(DOORS):
        pytest.skip("says something about all stories of this module together only")

    assert {kind for _, kind in SHARED.kinds} >= KINDS
