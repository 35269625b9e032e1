"""Training steps: what they compute, measure and refuse, and going on from a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

import alexnet
from alexnet import reference
from alexnet.data import Preprocessing, TrainingBatches
from alexnet.inference.evaluation import evaluate
from alexnet.network.variants import AlexNet, variant_named
from alexnet.training.optimizers import SGD, Adam, Optimizer
from alexnet.training.schedules import Schedule
from alexnet.training.trainer import Norms, StepResult, Trainer
from support import cifar_files as files
from support import small_runs

SMALL = small_runs.SMALL.with_classes(len(files.CLASSES))
IMAGES = small_runs.image_set(0, 40)
PREPROCESSING = Preprocessing.fit(IMAGES, SMALL.input_shape, augment="paper")


def trainer(
    seed: int = 1,
    optimizer: type[Optimizer] = Adam,
    *,
    step: int = 0,
    images: int = 40,
    schedule: Schedule | None = None,
    learning_rate: float = 0.01,
) -> Trainer:
    network = AlexNet(SMALL, seed=seed)
    source = small_runs.image_set(0, images)
    batches = TrainingBatches(source, PREPROCESSING, 8, seed, step=step)
    rule = optimizer(network, learning_rate=learning_rate, weight_decay=1e-3)
    return Trainer(network, rule, batches, schedule=schedule)


def take_steps(running: Trainer, until: int) -> list[StepResult]:
    return [running.step() for _ in range(until - running.steps)]


def bits(running: Trainer) -> dict[str, bytes]:
    tensors = running.network.tensors() | running.optimizer.state_dict()
    return {name: array.tobytes() for name, array in tensors.items()}


# --- steps ----------------------------------------------------------------------------------------


def test_it_learns() -> None:
    running = trainer()
    first = running.step()
    results = take_steps(running, 60)
    assert [result.step for result in results] == list(range(2, 61))
    assert running.steps == 60
    assert results[-1].loss < 0.3 * first.loss
    test = evaluate(running.network, small_runs.image_set(9, 30), PREPROCESSING)
    assert test.accuracy > 0.9


def test_the_first_loss_is_that_of_the_logits() -> None:
    running = trainer()
    batch = TrainingBatches(IMAGES, PREPROCESSING, 8, 1).next()
    logits = AlexNet(SMALL, seed=1).forward(batch.images, training=True)
    result = running.step()
    expected = reference.softmax_cross_entropy(logits, batch.labels)
    np.testing.assert_allclose(result.loss, expected, rtol=1e-6)
    assert result.accuracy == (logits.argmax(axis=1) == batch.labels).mean()
    assert result.step == 1
    assert result.norms is None
    assert 0 <= result.waited <= result.seconds


def test_a_run_repeats_bit_for_bit_for_any_number_of_threads() -> None:
    def run(threads: int) -> tuple[list[float], dict[str, bytes]]:
        alexnet.set_num_threads(threads)
        running = trainer()
        losses = [running.step().loss for _ in range(7)]
        return losses, bits(running)

    one = run(1)
    assert run(1) == one
    assert run(3) == one


def test_the_reference_trains_by_the_same_code() -> None:
    def losses(implementation: object) -> list[float]:
        network = AlexNet(SMALL, seed=1, implementation=implementation)
        batches = TrainingBatches(IMAGES, PREPROCESSING, 4, 1)
        running = Trainer(network, SGD(network, learning_rate=0.01), batches)
        return [running.step().loss for _ in range(3)]

    np.testing.assert_allclose(losses(alexnet.ops), losses(reference), rtol=1e-4)


def test_schedule_gives_the_rate_of_each_step() -> None:
    schedule = Schedule("cosine", 0.02, 6, warm_up=2)
    running = trainer(schedule=schedule)
    rates = [result.learning_rate for result in take_steps(running, 6)]
    assert rates == [schedule(step) for step in range(6)]
    assert trainer(learning_rate=0.03).step().learning_rate == 0.03


def test_norms_are_those_of_weights_gradients_and_updates() -> None:
    running, other = trainer(), trainer()
    before = {name: array.copy() for name, array in running.network.parameters.items()}
    result = running.step(measure_norms=True)
    assert result.norms is not None
    assert result.norms.keys() == before.keys()
    for name, parameter in running.network.parameters.items():
        arrays = (before[name], running.network.gradients[name], parameter - before[name])
        expected = Norms(*(float(np.linalg.norm(array)) for array in arrays))
        for field in ("weight", "gradient", "update"):
            np.testing.assert_allclose(
                getattr(result.norms[name], field), getattr(expected, field), rtol=1e-5
            )
    other.step()
    assert bits(other) == bits(running)  # measuring changes nothing


# --- what is refused ------------------------------------------------------------------------------


def test_network_and_data_have_to_fit() -> None:
    batches = TrainingBatches(IMAGES, PREPROCESSING, 8)
    large = AlexNet(variant_named("cifar10-bn").shrunk(image_size=40, width=1 / 24))
    with pytest.raises(ValueError, match=r"images are \(32, 32, 3\), but cifar10-bn takes \(40"):
        Trainer(large, SGD(large), batches)
    few = AlexNet(SMALL.with_classes(2))
    with pytest.raises(ValueError, match=r"output of cifar10-bn is \(2,\).* classes up to 2"):
        Trainer(few, SGD(few), batches)


def test_a_loss_that_is_not_finite_stops_before_the_update() -> None:
    running = trainer()
    running.step()
    running.network.parameters["conv4.weight"][0, 0, 0, 0] = np.nan
    before = {name: array.tobytes() for name, array in running.network.parameters.items()}
    moments = {name: array.tobytes() for name, array in running.optimizer.state_dict().items()}
    with pytest.raises(
        FloatingPointError,
        match=r"the loss of step 2 is nan: conv4.weight is no longer finite .* below 0.01",
    ):
        running.step()
    assert all(running.network.parameters[name].tobytes() == before[name] for name in before)
    after = running.optimizer.state_dict()
    assert all(after[name].tobytes() == moments[name] for name in moments)


def test_the_layer_whose_output_overflows_is_named() -> None:
    running = trainer()
    running.network.parameters["fc6.weight"][...] = 3e38
    with pytest.raises(FloatingPointError, match="layer fc6 is the first whose output is not fin"):
        running.step()


def test_no_checkpoint_of_a_ruined_network() -> None:
    running = trainer()
    running.step()
    running.network.parameters["conv1.weight"][...] = np.inf
    with pytest.raises(FloatingPointError, match=r"after step 1 .* ruined: conv1.weight is no"):
        running.checkpoint()


# --- going on -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [SGD, Adam])
def test_restored_run_is_the_uninterrupted_one(optimizer: type[Optimizer]) -> None:
    schedule = Schedule("cosine", 0.01, 14, warm_up=3)
    whole = trainer(1, optimizer, schedule=schedule)
    take_steps(whole, 6)
    checkpoint = whole.checkpoint(best_accuracy=0.5)
    kept = {name: array.copy() for name, array in checkpoint.network.items()}
    moments = {name: array.copy() for name, array in checkpoint.optimizer.items()}
    take_steps(whole, 14)

    resumed = trainer(1, optimizer, step=6, schedule=schedule)
    checkpoint.network.update(kept)
    checkpoint.optimizer.update(moments)
    resumed.restore(checkpoint)
    assert resumed.steps == 6
    take_steps(resumed, 14)
    assert bits(resumed) == bits(whole)


def test_restore_takes_its_own_only() -> None:
    saved = trainer()
    take_steps(saved, 2)
    checkpoint = saved.checkpoint()
    with pytest.raises(ValueError, match="is of step 2, but the batches are at step 0: make them"):
        trainer().restore(checkpoint)
    with pytest.raises(ValueError, match=r"trained with images 40, .* but here are images 39,"):
        trainer(step=2, images=39).restore(checkpoint)
    other_images = TrainingBatches(small_runs.image_set(2, 40), PREPROCESSING, 8, 1, step=2)
    network = AlexNet(SMALL, seed=1)
    with pytest.raises(ValueError, match=r"trained with images 40, digest .* images 40, digest"):
        Trainer(network, Adam(network), other_images).restore(checkpoint)
    with pytest.raises(ValueError, match=r"seed 1, but here are .* seed 2"):
        trainer(2, step=2).restore(checkpoint)
    with pytest.raises(ValueError, match="SGD: the state's arrays are not those"):
        trainer(optimizer=SGD, step=2).restore(checkpoint)
    network = AlexNet(SMALL.shrunk(width=2.0), seed=1)
    other = Trainer(network, Adam(network), TrainingBatches(IMAGES, PREPROCESSING, 8, 1, step=2))
    with pytest.raises(ValueError, match=r"of cifar10-bn .* which differs from this network"):
        other.restore(checkpoint)
