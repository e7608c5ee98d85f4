from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kras_classifier_he import HeOptions, feed
from kras_classifier_he import classifier as he
from kras_classifier_he.network import GatedAttention
from kras_plugins import BackendError, Bag, Cohort, ConfigError, Sample, TileSpec
from kras_plugins.bags import read_bag, write_bag
from kras_plugins.learning import tiles as bags
from kras_plugins.models import devices
from kras_plugins.models.accelerators import Accelerators, Card, look

OPTIONS = HeOptions(hidden=32, attention=16, seeds=2, epochs=25)
DIM = 12


def bag(features, slide_id="s", encoder="e", transform_hash="t"):
    features = np.asarray(features, dtype=np.float32)
    return Bag(
        slide_id=slide_id,
        features=features,
        xy=np.arange(2 * len(features), dtype=np.int32).reshape(-1, 2),
        size=(448.0, 448.0),
        tile_spec=TileSpec(px=224, mpp=0.5),
        encoder=encoder,
        transform_hash=transform_hash,
    )


def patient(features, patient_id="p", **facts):
    return Sample(patient_id=patient_id, bags=(bag(features, **facts),))


def patients(n, seed, tiles=30, key=3):
    """The first `key` tiles of each third patient carry the signal."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 3 == 0).astype(np.int8)
    samples = []
    for i, label in enumerate(labels):
        x = rng.normal(size=(tiles, DIM))
        x[:key, :4] += 3.5 * label
        samples.append(patient(x, f"p{i}"))
    return samples, labels


def fit(samples, labels, options=OPTIONS, seed=0):
    classifier = he.HeClassifier(options, seed)
    cut = len(samples) * 3 // 4
    parts = [
        Cohort(samples=samples[p], labels=labels[p], groups=[s.patient_id for s in samples[p]])
        for p in (slice(cut), slice(cut, None))
    ]
    classifier.fit(*parts)
    return classifier


@pytest.fixture(scope="module")
def classifier():
    return fit(*patients(48, 0))


def test_a_bag_is_scored_as_ilse_and_others_write_it():
    """Attention-pooled features first, then the linear layer, one network at a time, with torch's own layers."""
    generator = torch.Generator().manual_seed(0)
    net = GatedAttention(
        3, torch.randn(DIM, generator=generator), torch.rand(DIM, generator=generator) + 0.5, 7, 5, generator
    )
    x = torch.randn(11, DIM, generator=generator)
    linear = torch.nn.functional.linear
    expected = []
    for k in range(3):
        h = linear((x - net.mean) / net.sd, net.embed[k].T, net.embed_bias[k, 0]).relu()
        weight, bias = net.heads[k].T, net.head_biases[k, 0]
        gated = linear(h, weight[:5], bias[:5]).tanh() * linear(h, weight[5:10], bias[5:10]).sigmoid()
        attention = linear(gated, net.attend[k].T).softmax(dim=0)
        z = (attention * h).sum(dim=0)
        expected.append(z @ weight[10] + bias[10])
    torch.testing.assert_close(net(x, [11])[:, 0], torch.stack(expected))


def test_bags_laid_end_to_end_do_not_mix():
    generator = torch.Generator().manual_seed(0)
    net = GatedAttention(2, torch.zeros(DIM), torch.ones(DIM), 7, 5, generator)
    x = torch.randn(11, DIM, generator=generator)
    both = net(x, [4, 7])
    torch.testing.assert_close(both, torch.cat([net(x[:4], [4]), net(x[4:], [7])], dim=-1))


def test_the_order_of_tiles_and_their_slides_do_not_matter(classifier):
    x = np.random.default_rng(1).normal(size=(40, DIM))
    shuffled = np.random.default_rng(2).permutation(x)
    split = Sample(patient_id="p", bags=(bag(x[25:], "b"), bag(x[:25], "a")))
    scores = classifier.predict([patient(x), patient(shuffled), split])
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)


def test_attention_finds_the_key_tiles(classifier):
    samples, labels = patients(60, 5)
    shares = [classifier.explain(s).attention[:3].sum() for s, y in zip(samples, labels, strict=True) if y]
    assert np.median(shares) > 0.4  # of 3 tiles in 30, which get 0.1 by chance


def test_a_tile_contributes_its_attention_times_how_far_its_score_is_from_the_mean_logit_of_training(classifier):
    train, (sample,) = patients(48, 0)[0][:36], patients(1, 9)[0]
    network = classifier._network

    def tiles(one):
        e, s = network.tiles(torch.from_numpy(one.bags[0].features))
        return e.detach().double().softmax(dim=-1).numpy(), s.detach().double().numpy()

    base = np.mean([(a * s).sum(axis=1) for a, s in map(tiles, train)], axis=0)
    a, s = tiles(sample)
    why = classifier.explain(sample)
    np.testing.assert_allclose(why.values, (a * (s - base[:, None])).mean(axis=0), atol=1e-6)
    assert why.base == pytest.approx(base.mean(), abs=1e-6)
    assert why.values.sum() + why.base == pytest.approx(classifier.predict([sample])[0], abs=1e-5)


def test_without_the_tiles_that_raise_it_a_score_falls_faster_than_without_others(classifier):
    """A deletion curve on the planted signal: the planted tiles come first, and taking them away is what counts."""
    samples, labels = patients(60, 5)
    rng = np.random.default_rng(0)
    for sample in (s for s, y in zip(samples, labels, strict=True) if y):
        x = sample.bags[0].features
        ranked = np.argsort(-classifier.explain(sample).values)

        def without(gone, x=x):
            return classifier.predict([patient(np.delete(x, gone, axis=0))])[0]

        others = np.mean([[without(rng.permutation(len(x))[:k]) for k in (1, 2, 3)] for _ in range(5)], axis=0)
        assert np.all([without(ranked[:k]) for k in (1, 2, 3)] < others)
        assert set(ranked[:3]) == {0, 1, 2}


def test_attention_names_the_slide_and_place_of_each_tile(classifier):
    x = np.random.default_rng(1).normal(size=(9, DIM))
    why = classifier.explain(Sample(patient_id="p", bags=(bag(x[:4], "a"), bag(x[4:], "b"))))
    assert why.slide_ids == ("a",) * 4 + ("b",) * 5
    np.testing.assert_array_equal(why.xy, np.r_[np.arange(8), np.arange(10)].reshape(-1, 2))


def test_units_and_offsets_of_features_do_not_matter():
    samples, labels = patients(32, 0)
    scaled = [patient(s.bags[0].features * 1000 + 5000, s.patient_id) for s in samples]
    a, b = fit(samples, labels).predict(samples), fit(scaled, labels).predict(scaled)
    np.testing.assert_allclose(a, b, atol=0.05)


def test_standardization_sees_the_training_part_only():
    samples, labels = patients(32, 0)
    odd = [*samples[:24], *(patient(s.bags[0].features + 100, s.patient_id) for s in samples[24:])]
    network = fit(odd, labels)._network
    x = np.concatenate([s.bags[0].features for s in samples[:24]])
    np.testing.assert_allclose(network.mean.numpy(), x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(network.sd.numpy(), x.std(axis=0), rtol=1e-5)


def test_a_constant_feature_does_no_harm():
    samples, labels = patients(32, 0)
    constant = [patient(np.c_[s.bags[0].features, np.full(30, 7.0)], s.patient_id) for s in samples]
    assert np.isfinite(fit(constant, labels).predict(constant)).all()


def test_running_a_bag_in_pieces_gives_the_same(classifier, monkeypatch):
    samples, _ = patients(4, 3, tiles=50)
    whole = classifier.predict(samples)
    monkeypatch.setattr(he, "TILES_AT_ONCE", 7)
    np.testing.assert_allclose(classifier.predict(samples), whole, rtol=1e-5)


def test_accumulated_gradients_are_those_of_the_whole_batch(monkeypatch):
    samples, labels = patients(32, 0)
    options = OPTIONS.model_copy(update={"epochs": 3, "dropout": 0.0, "feature_dropout": 0.0})
    whole = fit(samples, labels, options).predict(samples)
    monkeypatch.setattr(he, "TILES_AT_ONCE", 1)
    np.testing.assert_allclose(fit(samples, labels, options).predict(samples), whole, atol=1e-4)


def test_no_more_than_the_allowed_tiles_are_read(monkeypatch):
    samples, labels = patients(16, 0, tiles=80)
    read = []
    gather = bags.gather
    for module in (he, feed):
        monkeypatch.setattr(
            module, "gather", lambda sample, index, *o: read.append(len(index)) or gather(sample, index, *o)
        )
    options = OPTIONS.model_copy(update={"tiles": 20, "max_tiles": 50, "epochs": 2})
    classifier = fit(samples, labels, options)
    assert set(read) == {20}
    read.clear()
    classifier.predict(samples)
    assert set(read) == {50}
    assert len(classifier.explain(samples[0]).values) == 50


def test_tiles_are_drawn_anew_in_each_epoch():
    rng = np.random.default_rng(0)
    sample = patient(np.zeros((100, DIM)))
    draws = [he._draw(sample, 30, rng) for _ in range(50)]
    assert all(len(np.unique(d)) == 30 for d in draws)
    assert len(np.unique(draws)) == 100


def test_memory_mapped_bags_are_gathered_across_slides(tmp_path):
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, DIM)).astype(np.float32) for n in (5, 1, 7)]
    mapped = []
    for i, part in enumerate(parts):
        np.save(tmp_path / f"{i}.npy", part)
        mapped.append(bag(np.zeros((0, DIM)), f"s{i}"))
        mapped[-1] = replace(
            mapped[-1],
            features=np.load(tmp_path / f"{i}.npy", mmap_mode="r"),
            xy=np.zeros((len(part), 2), np.int32),
        )
    sample = Sample(patient_id="p", bags=tuple(mapped))
    index = np.array([0, 4, 5, 6, 12])
    np.testing.assert_array_equal(bags.gather(sample, index), np.concatenate(parts)[index])
    assert bags.places(sample, index)[0] == ("s0", "s0", "s1", "s2", "s2")


@pytest.mark.parametrize(("n", "at_most"), [(5, 5), (5, 9), (10, 4), (10_001, 10_000)])
def test_evenly_spaced_tiles_span_the_patient_without_repeats(n, at_most):
    index = bags.evenly(n, at_most)
    assert len(np.unique(index)) == min(n, at_most)
    assert (index[0], index[-1]) == (0, n - 1)


def test_mixed_encoders_are_refused_in_training():
    samples, labels = patients(16, 0)
    for odd in (
        patient(np.zeros((3, DIM)), encoder="other"),
        patient(np.zeros((3, DIM)), transform_hash="other"),
        patient(np.zeros((3, DIM + 1))),
    ):
        with pytest.raises(ConfigError, match="different sources"):
            fit([odd, *samples[1:]], labels)


def test_features_of_another_encoder_are_refused_in_prediction(classifier):
    with pytest.raises(ConfigError, match="'stranger'"):
        classifier.predict([patient(np.zeros((3, DIM)), "stranger", encoder="other")])


def test_an_empty_bag_is_refused(classifier):
    with pytest.raises(ConfigError, match="'void' has no tiles"):
        classifier.predict([patient(np.zeros((0, DIM)), "void")])


def test_features_that_are_not_finite_are_refused_by_slide(classifier):
    x = np.zeros((3, DIM))
    x[1, 1] = np.nan
    with pytest.raises(ConfigError, match="'bad'"):
        classifier.predict([patient(x, slide_id="bad")])


def test_thirty_patients_suffice_with_default_options():
    """At lr 1e-4 and two steps an epoch nothing would be learned from so few."""
    samples, labels = patients(32, 0)
    fresh, truth = patients(60, 1)
    scores = fit(samples, labels, HeOptions(seeds=1)).predict(fresh)
    wins = scores[truth == 1][:, None] > scores[truth == 0]
    assert wins.mean() > 0.9


def accelerators():
    found = look()
    return [card.device for card in found.cards] + ["mps"] * found.mps + ["xpu"] * bool(found.xpu)


def test_a_device_that_is_named_and_absent_is_one_error():
    absent = [d for d in ("cuda:99", "mps", "xpu") if d not in accelerators()]
    for device in absent:
        with pytest.raises(BackendError, match="NVIDIA GPU|Apple GPU|Intel GPU|no cuda:99"):
            he.HeClassifier(HeOptions(device=device), 0)
    with pytest.raises(ValueError, match="none of auto, cpu, cuda"):
        HeOptions(device="gpu")


@pytest.mark.parametrize(("device", "kind"), [("auto", "cuda"), ("cpu", "cpu"), ("cuda", "cuda"), ("cuda:1", "cuda")])
def test_the_kind_of_device_is_a_fact_of_the_result_and_which_card_is_none(monkeypatch, device, kind):
    card = Accelerators(torch="2.9", cards=(Card(0, "NVIDIA H200", (9, 0)),))
    monkeypatch.setattr(devices, "likely", lambda: True)
    monkeypatch.setattr(devices, "look", lambda: card)
    facts = HeOptions(device=device).result_affecting()
    assert facts["device"] == kind
    assert HeOptions.model_validate(facts).result_affecting() == facts


def test_a_gpu_left_to_idle_is_said_once(monkeypatch, caplog):
    trouble = Accelerators(torch="2.9+cpu", trouble="PyTorch 2.9+cpu is built without CUDA", remedy="install another")
    monkeypatch.setattr(devices, "likely", lambda: True)
    monkeypatch.setattr(devices, "look", lambda: trouble)
    he._say_unused.cache_clear()
    for _ in range(2):
        he.HeClassifier(HeOptions(), 0)
    assert caplog.text.count("built without CUDA (install another)") == 1


def test_networks_run_with_deterministic_algorithms_and_leave_the_switches_as_they_were(monkeypatch):
    seen = set()
    tiles = GatedAttention.tiles

    def looks(*given):
        seen.add(torch.are_deterministic_algorithms_enabled())
        return tiles(*given)

    monkeypatch.setattr(GatedAttention, "tiles", looks)
    samples, labels = patients(16, 0)
    classifier = fit(samples, labels, OPTIONS.model_copy(update={"epochs": 1}))
    classifier.predict(samples)
    classifier.explain(samples[0])
    assert seen == {True}
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_model_of_another_device_scores_on_a_cpu_and_keeps_what_it_was_trained_on(classifier, tmp_path):
    classifier.save(tmp_path)
    file = tmp_path / "classifier.json"
    facts = json.loads(file.read_text())
    assert facts["options"]["device"] == devices.find_device("auto").kind
    facts["options"]["device"] = "cuda"
    file.write_text(json.dumps(facts))
    loaded = he.HeClassifier.load(tmp_path)
    samples, _ = patients(4, 3)
    np.testing.assert_allclose(loaded.predict(samples), classifier.predict(samples), atol=1e-4)
    assert loaded._fitted(()).base.device.type == "cpu"
    (tmp_path / "again").mkdir()
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "classifier.json").read_text())["options"]["device"] == "cuda"


@pytest.mark.skipif(not accelerators(), reason="PyTorch sees no accelerator")
@pytest.mark.parametrize("device", accelerators())
def test_an_accelerator_gives_the_same_bytes_each_time_and_a_cpu_its_scores(device, tmp_path):
    samples, labels = patients(48, 0)
    options = OPTIONS.model_copy(update={"device": device})
    scores = []
    for name in ("a", "b"):
        classifier = fit(samples, labels, options)
        (tmp_path / name).mkdir()
        classifier.save(tmp_path / name)
        scores.append(classifier.predict(samples))
    assert (tmp_path / "a/network.safetensors").read_bytes() == (tmp_path / "b/network.safetensors").read_bytes()
    np.testing.assert_array_equal(*scores)
    np.testing.assert_allclose(he.HeClassifier.load(tmp_path / "a").predict(samples), scores[0], atol=1e-4)


def test_no_tile_of_a_large_patient_is_left_out_unless_asked(classifier):
    x = np.random.default_rng(0).normal(size=(20_001, DIM)).astype(np.float32)
    looked_at = bags.evenly(len(x), 10_000)
    (odd,) = np.setdiff1d(np.arange(100), looked_at)[:1]
    other = x.copy()
    other[odd, :4] = 30
    assert np.abs(np.diff(classifier.predict([patient(x), patient(other)])))[0] > 1e-3
    assert len(classifier.explain(patient(x)).values) == len(x)
    assert classifier.most_tiles is None
    assert he.HeClassifier(HeOptions(max_tiles=10_000), 0).most_tiles == 10_000


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_memory_does_not_grow_with_what_was_read(tmp_path):
    samples, labels = patients(24, 0, tiles=8000)
    stored = []
    for sample in samples:
        wide = np.tile(sample.bags[0].features, 8)
        write_bag(tmp_path / sample.patient_id, bag(wide))
        stored.append(Sample(patient_id=sample.patient_id, bags=(read_bag(tmp_path / sample.patient_id),)))

    def of_files():
        text = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("RssFile"))

    before = of_files()
    classifier = fit(stored, labels, OPTIONS.model_copy(update={"epochs": 1, "tiles": 8000}))
    classifier.predict(stored)
    assert of_files() - before < 8 << 20  # all of them are 70 MB


HIGHEST = """
import sys; from pathlib import Path
import numpy as np
from kras_classifier_he import HeOptions
from kras_classifier_he.classifier import HeClassifier
from kras_plugins import Cohort, Sample
from kras_plugins.bags import read_bag
bag, labels = read_bag(Path("s.h5")), np.arange(400, dtype=np.int8) % 2
def highest(n):
    samples = [Sample(patient_id=str(i), bags=(bag,)) for i in range(n)]
    part = Cohort(samples=samples, labels=labels[:n], groups=["g"] * n)
    HeClassifier(HeOptions(hidden=4, attention=2, seeds=1, epochs=1), 0).fit(part, part)
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmHWM")) >> 10
few = highest(130)
print(highest(400) - few)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_memory_does_not_grow_with_the_number_of_patients(tmp_path):
    """What stays of each patient must not lie between what goes: 270 more once left 70 MB of holes."""
    write_bag(tmp_path / "s.h5", bag(np.zeros((1024, 128), np.float32)))
    ran = subprocess.run([sys.executable, "-c", HIGHEST], cwd=tmp_path, capture_output=True, text=True, timeout=500)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 24
