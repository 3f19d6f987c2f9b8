"""The networks of a seed learn from the same batches, and are measured as they are at the end."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support import needs

torch = pytest.importorskip("torch", reason=needs.PYTORCH.reason)

from app.mobilenet.architecture import layers  # noqa: E402
from app.mobilenet.cost import Cost  # noqa: E402
from app.mobilenet.variants import RESOLUTIONS  # noqa: E402
from app.training.schedule import BATCH  # noqa: E402
from tests.support.networks import images  # noqa: E402
from tools.distillation.batches import SHARES  # noqa: E402
from tools.experiments import networks as of_experiments  # noqa: E402
from tools.experiments import plan, results, trainings  # noqa: E402
from tools.experiments.cohort import Cohort  # noqa: E402
from tools.experiments.networks import RESOLUTION, architectures, resolutions  # noqa: E402
from tools.experiments.plan import steady_rate  # noqa: E402
from tools.experiments.results import ONE_FOR_ALL  # noqa: E402
from tools.training.photos import SIDE, Photos  # noqa: E402
from tools.training.run import HeldOut  # noqa: E402

torch.set_num_threads(1)  # two would wait for each other wherever another process has a CPU

NETWORKS = architectures(0.125)
COUNT = BATCH + 5
PHOTOS = Photos(images(COUNT, SIDE), np.arange(COUNT) % 4, ["a", "b", "c", "d"])
VALIDATION = HeldOut({RESOLUTION: images(10, RESOLUTION, seed=3)}, np.arange(10) % 4)
PLAIN = np.repeat(np.arange(40, 240, 50, dtype=np.uint8), 32)
"""One brightness for each of four classes."""


def cohort(seed: int = 0, photos: Photos = PHOTOS) -> Cohort:
    return Cohort.begin(NETWORKS, photos, seed, "cpu")


def weights(found: Cohort) -> list[Any]:
    return [tensor for member in found.members.values() for tensor in member.network.state_dict().values()]


def copies(found: Cohort) -> list[Any]:
    return [tensor.clone() for tensor in weights(found)]


def same(one: list[Any], other: list[Any]) -> bool:
    return all(torch.allclose(mine, yours, rtol=1e-3, atol=1e-4) for mine, yours in zip(one, other, strict=True))


def first_batch(seed: int, epoch: int) -> Any:
    return next(iter(cohort(seed).batches(epoch)))()[0]["separable"]


def test_the_networks_have_the_parameters_of_their_tables() -> None:
    for one in architectures(0.25):
        arrays = one.build(10, torch.float32).arrays()
        assert sum(array.size for array in arrays) == one.cost(RESOLUTION, 10).parameters


def test_every_network_learns(tmp_path: Path) -> None:
    found = cohort()
    before = copies(found)
    found.train(2, steady_rate, tmp_path / "steady")  # the rate of the first batch is 0
    assert not any(torch.equal(old, new) for old, new in zip(before, weights(found), strict=True))


def test_seed_and_epoch_determine_the_batches_and_the_seed_the_first_weights() -> None:
    assert torch.equal(first_batch(0, 3), first_batch(0, 3))
    assert not torch.equal(first_batch(0, 3), first_batch(0, 4))
    assert not torch.equal(first_batch(0, 3), first_batch(1, 3))
    assert torch.equal(weights(cohort(0))[0], weights(cohort(0))[0])
    assert not torch.equal(weights(cohort(0))[0], weights(cohort(1))[0])


def test_an_epoch_has_whole_batches_of_photos_with_the_targets_of_their_own_classes() -> None:
    labels = np.repeat(np.arange(4), 32)
    pixels = np.broadcast_to(PLAIN[:, None, None, None], (128, SIDE, SIDE, 3))
    made = [make() for make in cohort(photos=Photos(pixels, labels, ["a", "b", "c", "d"])).batches(0)]
    assert all(len(by_name) == 4 and len({id(one) for one in by_name.values()}) == 1 for by_name, _ in made)
    batches = [(by_name["narrow"], wanted) for by_name, wanted in made]
    assert [(tuple(one.shape), tuple(wanted.shape)) for one, wanted in batches] == [
        ((BATCH, 3, RESOLUTION, RESOLUTION), (BATCH, 4))
    ] * 2
    brightness = torch.cat([one.mean((1, 2, 3)) for one, _ in batches])
    classes = torch.cat([wanted.argmax(-1) for _, wanted in batches])
    assert classes.bincount().tolist() == [32] * 4, "every photo comes once"
    means = [float(brightness[classes == each].mean()) for each in range(4)]
    assert means == pytest.approx([40, 90, 140, 190], rel=0.15)  # colours vary by a quarter, for each photo anew


def test_networks_of_other_resolutions_see_the_same_crops_and_one_sees_a_mixture() -> None:
    photos = Photos(np.tile(PHOTOS.pixels, (4, 1, 1, 1)), np.tile(PHOTOS.labels, 4), PHOTOS.wnids)
    both = Cohort.begin(resolutions(0.125), photos, 0, "cpu"), cohort(photos=photos)
    found, of_one_size = ([make()[0] for epoch in range(3) for make in one.batches(epoch)] for one in both)
    sizes = [{name: one.shape[-1] for name, one in pixels.items()} for pixels in found]
    mixed = {each.pop(ONE_FOR_ALL) for each in sizes}
    assert sizes == [{f"trained at {side}": side for side in RESOLUTIONS}] * 12
    assert len(mixed) > 2
    assert mixed <= set(SHARES)
    assert torch.equal(found[0]["trained at 128"], of_one_size[0]["separable"])
    brightness = [one.mean((1, 2, 3)) for name, one in found[0].items() if name != ONE_FOR_ALL]
    assert all(torch.allclose(one, brightness[0], atol=1) for one in brightness)


def test_each_network_is_measured_at_the_resolutions_that_it_serves(tmp_path: Path) -> None:
    networks = resolutions(0.125)
    validation = HeldOut({side: images(3, side) for side in RESOLUTIONS}, np.zeros(3, np.int64))
    found = Cohort.begin(networks, PHOTOS, 0, "cpu")
    found.train(1, steady_rate, tmp_path / "steady")
    rows = trainings.measure(found, networks, validation)
    assert [(one.network, one.resolution) for one in rows] == [
        *((f"trained at {side}", side) for side in RESOLUTIONS),
        *((ONE_FOR_ALL, side) for side in RESOLUTIONS),
    ]
    assert [one.macs for one in rows] == 2 * [Cost.of(layers(0.125, side, 4)).macs for side in RESOLUTIONS]


def test_top1_is_the_share_of_right_answers_of_a_network_that_does_not_learn_from_them() -> None:
    found = cohort()
    network = found.members["separable"].network
    pixels = VALIDATION.pixels[RESOLUTION]
    with torch.no_grad():
        network.eval()
        answers = network(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())[0].argmax(-1).numpy()
        network.train()
    before = copies(found)
    labels = np.where(np.arange(10) < 7, answers, (answers + 1) % 4)
    assert found.top1("separable", HeldOut({RESOLUTION: pixels}, labels), RESOLUTION) == pytest.approx(0.7)
    assert all(torch.equal(old, new) for old, new in zip(before, weights(found), strict=True))
    assert network.training


def test_the_statistics_are_those_of_the_batches_and_later_ones_are_averaged_as_before() -> None:
    found = cohort()
    first = next(part for part in found.members["narrow"].network.modules() if isinstance(part, torch.nn.BatchNorm2d))
    momentum = first.momentum
    first.running_mean.fill_(1000)
    found.settle()
    assert float(first.running_mean.abs().max()) < 10
    assert first.momentum == momentum


def test_a_training_goes_on_in_its_own_precision_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, instructions = tmp_path / "steady", set[str]()
    monkeypatch.setattr(of_experiments, "instructions", lambda: frozenset(instructions))
    cohort().write(path)
    cohort().read(path)
    instructions.add("amx_bf16")
    with pytest.raises(ValueError, match=r"steady has learnt in float32, and would go on in bfloat16 here"):
        cohort().read(path)
    older = torch.load(path, weights_only=True)
    del older["precision"]
    torch.save(older, path)
    cohort().read(path)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the shortest training have two epochs."""
    monkeypatch.setattr(plan, "SHORTEST", 2)


def top1s(folder: Path) -> list[tuple[str, int, float, float]]:
    found = results.read(folder / trainings.RESULTS)
    return [(one.network, one.epochs, one.top1, one.train_accuracy) for one in found]


@pytest.mark.usefixtures("short")
def test_a_longer_training_later_is_like_one_from_the_start(tmp_path: Path) -> None:
    at_once, later = tmp_path / "at-once", tmp_path / "later"
    trainings.train(cohort(), NETWORKS, VALIDATION, 4, at_once)
    trainings.train(cohort(), NETWORKS, VALIDATION, 2, later)
    trainings.train(cohort(seed=0), NETWORKS, VALIDATION, 4, later)
    assert [epochs for _, epochs, _, _ in top1s(at_once)] == [2] * 4 + [4] * 4
    assert top1s(later) == top1s(at_once)
    ends = [cohort() for _ in range(2)]
    for end, folder in zip(ends, (at_once, later), strict=True):
        end.read(folder / "4-epochs")
    assert same(weights(ends[0]), weights(ends[1]))


@pytest.mark.usefixtures("short")
def test_a_training_that_is_killed_anywhere_ends_as_one_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, killed = tmp_path / "through", tmp_path / "killed"
    trainings.train(cohort(), NETWORKS, VALIDATION, 4, through)
    write = Cohort.write
    for dies_after in range(1, 6):  # checkpoints, of which there are three of the steady training, and two others

        def dying(own: Cohort, path: Path, left: list[int] = [dies_after]) -> None:  # noqa: B006
            write(own, path)
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

        monkeypatch.setattr(Cohort, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            trainings.train(cohort(), NETWORKS, VALIDATION, 4, killed / str(dies_after))
        monkeypatch.setattr(Cohort, "write", write)
        trainings.train(cohort(), NETWORKS, VALIDATION, 4, killed / str(dies_after))
        assert top1s(killed / str(dies_after)) == top1s(through)


@pytest.mark.usefixtures("short")
def test_results_are_not_measured_of_a_network_that_has_gone_past_them(tmp_path: Path) -> None:
    trainings.train(cohort(), NETWORKS, VALIDATION, 4, tmp_path)
    (tmp_path / trainings.RESULTS).unlink()
    (tmp_path / "2-epochs").unlink()
    with pytest.raises(FileNotFoundError, match="2-epochs, which began earlier, is missing"):
        trainings.train(cohort(), NETWORKS, VALIDATION, 4, tmp_path)
