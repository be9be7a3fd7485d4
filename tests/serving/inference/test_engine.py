"""An engine gives the same image for the same seed, bit for bit, and rejects a graph that does not fit its card."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from models.bundle import BundleError, read_bundle
from models.noise import labels_for_seeds, noise_for_seeds
from serving.inference.device import CPU, CUDA, Devices, Hardware, open_onnxruntime
from serving.inference.engine import Engine, Inputs, _BoundBuffers, bucket_sizes, open_engine

SEEDS = range(320)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, generators):
    root = tmp_path_factory.mktemp("bundles")
    kinds = {
        "mlp": generators.mlp(),
        "conv": generators.conv(),
        # A graph that computes its weights: batches of one give other sums there.
        "modulated": generators.mlp(width=256, packed=False),
    }
    bundles = {name: read_bundle(generators.ship(root, name, 1, kind)) for name, kind in kinds.items()}
    half = generators.ship(root, "half", 1, generators.mlp(half=True), precision="fp16")
    return {**bundles, "half": read_bundle(half)}


def inputs_for(card, seeds):
    label = labels_for_seeds(seeds, card.num_labels) if card.labels else None
    return Inputs(noise_for_seeds(seeds, card.noise_dim), label, np.ones(len(seeds), np.float32))


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("name", ["mlp", "conv", "modulated", "half"])
def test_the_same_seed_is_the_same_image_alone_and_in_every_batch(bundles, name, threads, monkeypatch):
    monkeypatch.setattr("serving.inference.engine._ONE_THREAD_SECONDS", 0)
    engine = open_engine(bundles[name], Devices("cpu", Hardware(threads)), 32)
    assert (engine.parallel_batches, engine._multithreaded_session is not None) == (threads, threads > 1)
    inputs = inputs_for(engine.card, SEEDS)
    alone = np.concatenate([engine.run(engine.pad([inputs.part(i, i + 1)]), device_idle=True) for i in SEEDS])
    assert alone.std() > 10
    assert len(np.unique(alone.reshape(len(alone), -1), axis=0)) == len(alone)
    for size in range(2, 33):
        for start in range(0, len(SEEDS) - size, size * (1 + size // 8)):
            batch = engine.run(engine.pad([inputs.part(start, start + size)]))
            assert np.array_equal(batch, alone[start : start + size]), f"batch of {size}"


def test_a_graph_whose_images_depend_on_the_batch_is_not_run_in_small_batches(bundles):
    assert 1 in open_engine(bundles["mlp"], Devices("cpu", Hardware(1)), 32).buckets
    session = open_onnxruntime(bundles["modulated"].onnx, CPU, Hardware(1))
    inputs = inputs_for(bundles["modulated"].card, range(1024))
    feed = {"noise": inputs.noise, "truncation": inputs.truncation}
    together = session.run(None, feed)[0]
    alone = [session.run(None, {name: array[i : i + 1] for name, array in feed.items()})[0] for i in range(1024)]
    if np.array_equal(np.concatenate(alone), together):
        pytest.skip("on this processor, ONNX Runtime gives the same images alone")
    assert 1 not in open_engine(bundles["modulated"], Devices("cpu", Hardware(1)), 32).buckets


def test_half_precision_is_close_to_single_precision(bundles):
    half, single = (open_engine(bundles[name], Devices("cpu", Hardware(1)), 32) for name in ("half", "mlp"))
    images = [engine.run(engine.pad([inputs_for(engine.card, range(32))])) for engine in (half, single)]
    assert np.abs(np.subtract(*images, dtype=np.int16)).max() <= 2


def test_inputs_are_joined_and_padding_is_cut_off(bundles):
    engine = open_engine(bundles["conv"], Devices("cpu", Hardware(2)), 16)
    inputs = inputs_for(engine.card, range(5))
    images = engine.run(engine.pad([inputs.part(0, 2), inputs.part(2, 5)]))
    assert engine.padding(5) == 1
    assert np.array_equal(images, engine.run(engine.pad([inputs])))
    assert images.shape == (5, 16, 16, 1)
    assert images.dtype == np.uint8


def test_labels_and_truncation_reach_the_graph(bundles):
    engine = open_engine(bundles["conv"], Devices("cpu", Hardware(1)), 4)
    noise = noise_for_seeds([1, 1, 1], 24)
    images = engine.run(engine.pad([Inputs(noise, np.array([1, 2, 1]), np.array([1, 1, 0.5], np.float32))]))
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


@pytest.mark.parametrize(("seconds", "used"), [(0, [1, 4]), (1e9, [1])])
def test_a_fast_generator_runs_in_one_thread(bundles, monkeypatch, seconds, used):
    opened = []

    def opener(onnx, provider, hardware):
        opened.append(hardware.intra_op_threads)
        return open_onnxruntime(onnx, provider, hardware)

    monkeypatch.setattr("serving.inference.engine._ONE_THREAD_SECONDS", seconds)
    engine = open_engine(bundles["mlp"], Devices("cpu", Hardware(4), opener), 8)
    assert opened == used
    assert engine.parallel_batches == used[-1]


@pytest.mark.parametrize(
    ("waiting", "taken"), [(1, 1), (5, 4), (7, 7), (8, 8), (9, 8), (11, 11), (13, 12), (14, 14), (16, 16), (99, 16)]
)
def test_a_cpu_computes_little_padding(bundles, waiting, taken):
    engine = open_engine(bundles["mlp"], Devices("cpu", Hardware(1)), 16)
    assert engine.buckets == (1, 2, 3, 4, 6, 8, 12, 16)
    assert engine.preferred_batch(waiting) == taken
    engine._on_gpu = True
    assert engine.preferred_batch(waiting) == 16


@pytest.mark.parametrize(("limit", "sizes"), [(1, (1,)), (5, (1, 2, 3, 4, 5)), (16, (1, 2, 3, 4, 6, 8, 12, 16))])
def test_bucket_sizes(limit, sizes):
    assert bucket_sizes(limit) == sizes


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_bound_buffers_give_the_same_images_each_time(bundles, cuda_graphs):
    """Runs a GPU's path on the CPU. The buffers are reused, and must not leak into earlier images."""
    bundle = bundles["conv"]
    session = open_onnxruntime(bundle.onnx, CPU, Hardware(1))

    def feed(seeds):
        inputs = inputs_for(bundle.card, seeds)
        return {"noise": inputs.noise, "label": inputs.label, "truncation": inputs.truncation}

    bound = _BoundBuffers(session, bundle.card, feed(range(4)), "cpu", Hardware(1, cuda_graphs=cuda_graphs))
    first, second = bound.run(feed(range(4))), bound.run(feed(range(4, 8)))
    assert np.array_equal(first, session.run(None, feed(range(4)))[0])
    assert np.array_equal(second, session.run(None, feed(range(4, 8)))[0])


def test_the_gpu_path_gives_the_same_images(bundles, monkeypatch):
    """Runs all of it but the device: every size is warmed up and bound once, batches are padded and never cut."""
    opened = []

    def bound(session, card, feed, device, hardware):
        assert device == "cuda"
        opened.append(len(feed["noise"]))
        return _BoundBuffers(session, card, feed, "cpu", hardware)

    monkeypatch.setattr("serving.inference.engine._BoundBuffers", bound)
    bundle = bundles["conv"]
    engine = Engine(bundle.card, open_onnxruntime(bundle.onnx, CPU, Hardware(1)), CUDA, 8, Hardware(4))
    assert (engine.provider, engine.parallel_batches, engine.preferred_batch(5)) == ("cuda", 1, 8)
    inputs = inputs_for(bundle.card, range(5))
    images = engine.run(engine.pad([inputs]), device_idle=True)
    on_cpu = open_engine(bundle, Devices("cpu", Hardware(1)), 8)
    assert np.array_equal(images, on_cpu.run(on_cpu.pad([inputs])))
    assert sorted(opened) == [1, 2, 3, 4, 6, 8]


def test_a_graph_that_does_not_fit_its_card_is_rejected(bundles, generators, tmp_path):
    graph, _, labels, image = generators.mlp()
    bundle = read_bundle(generators.ship(tmp_path, "odd", 1, (graph, 33, labels, image)))
    with pytest.raises(BundleError, match=r"odd/1: the inputs .* noise float32 \[N, 32\].* asks for .*\[N, 33\]"):
        open_engine(bundle, Devices("cpu", Hardware(1)), 4)


def test_every_batch_size_is_run_before_the_engine_is_ready(bundles):
    sizes = []

    class RecordingSession:
        def __init__(self, session):
            self._session = session

        def __getattr__(self, name):
            return getattr(self._session, name)

        def run(self, names, feed):
            sizes.append(len(feed["noise"]))
            return self._session.run(names, feed)

    session = onnxruntime.InferenceSession(bundles["conv"].onnx, providers=[CPU])
    engine = Engine(bundles["conv"].card, RecordingSession(session), CPU, 12, Hardware(1))
    assert set(sizes) == set(engine.buckets) == {1, 2, 3, 4, 6, 8, 12}


@pytest.mark.parametrize(("images", "sides"), [(1, (64, 64)), (1, (16, 8)), (0, (16, 16))])
def test_images_of_another_shape_than_the_declared_one_are_refused(bundles, images, sides):
    """ONNX Runtime only warns of them; they would pass every limit on pixels, and mix the clients of a batch."""
    card = bundles["mlp"].card
    session = open_onnxruntime(bundles["mlp"].onnx, CPU, Hardware(1))

    class Lying:
        get_inputs, get_outputs = session.get_inputs, session.get_outputs

        def run(self, names, feed):
            return [np.zeros((len(feed["noise"]) * images, *sides, 3), np.uint8)]

    with pytest.raises(BundleError, match=r"mlp/1: generator.onnx generates images of the shape .* instead of"):
        Engine(card, Lying(), CPU, 4, Hardware(1))


def nan_generator(mlp_generator):
    """Returns the MLP, with NaN among the values of each image whose first noise number is above 100."""
    graph, noise_dim, labels, image = mlp_generator()
    model = onnx.load_from_string(graph)
    constants = {"hundred": np.float32(100), "zeroth": np.array([0]), "nothing": np.float32(0)}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    )
    added = [
        helper.make_node("Gather", ["noise", "zeroth"], ["mark"], axis=1),
        helper.make_node("Sub", ["hundred", "mark"], ["distance"]),
        helper.make_node("Sqrt", ["distance"], ["root"]),
        helper.make_node("Mul", ["root", "nothing"], ["fault"]),
        helper.make_node("Add", ["z", "fault"], ["faulty"]),
    ]
    nodes = [*model.graph.node]
    place = next(index for index, node in enumerate(nodes) if node.op_type == "MatMul")
    nodes[place].input[0] = "faulty"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:place], *added, *nodes[place:]])
    return model.SerializeToString(), noise_dim, labels, image


@pytest.mark.parametrize("threads", [1, 2])
def test_nan_is_an_error_and_no_picture(generators, tmp_path, threads, monkeypatch):
    """As uint8, NaN would be a black or white pixel of an image like any other."""
    monkeypatch.setattr("serving.inference.engine._ONE_THREAD_SECONDS", 0)
    bundle = read_bundle(generators.ship(tmp_path, "nan", 1, nan_generator(generators.mlp)))
    engine = open_engine(bundle, Devices("cpu", Hardware(threads)), 4)
    inputs = inputs_for(engine.card, range(3))
    sound = engine.run(engine.pad([inputs]))
    inputs.noise[1, 0] = 101
    for device_idle in (False, True):
        with pytest.raises(BundleError, match=r"nan/1: generator\.onnx computes NaN"):
            engine.run(engine.pad([inputs]), device_idle)
        assert np.array_equal(
            engine.run(engine.pad([inputs.part(0, 1), inputs.part(2, 3)]), device_idle), sound[[0, 2]]
        )


def test_nan_in_the_padding_is_nobodys(bundles):
    """Zeros are no noise that a generator has seen in training: one that divides by their length gives NaN."""
    session = open_onnxruntime(bundles["mlp"].onnx, CPU, Hardware(1))
    engine = Engine(bundles["mlp"].card, session, CPU, 4, Hardware(1))
    batch = engine.pad([inputs_for(engine.card, range(3))])
    assert len(batch.feed["noise"]) == 3
    batch.feed["noise"][2] = np.nan
    batch.count = 2
    assert len(engine.run(batch)) == 2
