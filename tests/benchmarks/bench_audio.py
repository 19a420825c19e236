"""How many seconds of audio become committed rows in a second, beside the loop that users write.

``python tests/benchmarks/bench_audio.py CLIPS NETWORK`` reads all audio files of the folder CLIPS (or those
in the column ``path`` of a ``.csv``), and measures a network: the name of a folder of transformers, or one
such as ``openai/whisper-tiny.en``. ``--random whisper-tiny`` or ``wav2vec2-base`` makes a network of that
size with random weights instead.
``--seconds 30`` repeats each clip up to that length. Every measurement is a process
of its own on the same files, with a cache of its own; rounds are taken in turn, and medians and ratios are
shown, in wall seconds and in seconds of all cores, since a machine may have other work to do. featx's time
runs from opening the files to the last row on the disk, with the comparison of the engine with plain fp32 in
it; imports and the building of the network (in int8 its calibration) are not counted, for anyone.

The loop decodes each file with soundfile and soxr, and gives ``--batch-sizes`` of them to the feature
extractor and the model of transformers: for Whisper padded to 30 seconds, for others to the longest of the
batch with an attention mask; a row is the mean over time. Rows of Whisper differ from the loop's, which
averages 30 seconds of mostly silence; those of wav2vec 2.0 are the same at batch 1. The least cosine of all
rows to those of the first loop is shown.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench_text import METHODS, Clock, fastest, of_norm_one, run_rounds, summarise

RANDOM = ("whisper-tiny", "wav2vec2-base")


def find_files(source: str, limit: int) -> list[str]:
    path = Path(source)
    if path.suffix == ".csv":
        with open(path, encoding="utf-8", newline="") as file:
            found = [str(path.parent / row["path"]) for row in csv.DictReader(file)]
    else:
        from featx.inputs.audio import is_audio_file

        found = sorted(str(file) for file in path.rglob("*") if is_audio_file(str(file)))
    step = max(1, len(found) // limit)  # from all over the folder
    return found[::step][:limit]


def make_longer(files: list[str], seconds: float, folder: str) -> list[str]:
    """Write each clip repeated up to so many seconds."""
    import numpy as np
    import soundfile

    made = []
    for number, file in enumerate(files):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        wanted = round(seconds * rate)
        made.append(f"{folder}/{number}.wav")
        repeated = np.tile(samples.mean(axis=1), -(-wanted // len(samples)))[:wanted]
        soundfile.write(made[-1], repeated, rate)
    return made


def write_random(kind: str, folder: str) -> None:
    """Write a network of random weights in the format of transformers, with its feature extractor."""
    transformers = import_transformers()
    import torch

    torch.manual_seed(0)
    if kind == "whisper-tiny":
        sizes = {"d_model": 384, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536, "num_mel_bins": 80}
        heads = {"encoder_attention_heads": 6, "decoder_attention_heads": 6}
        config = transformers.WhisperConfig(**sizes, **heads, encoder_layers=4, decoder_layers=1)
        transformers.WhisperModel(config).save_pretrained(folder)
        transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    else:
        transformers.Wav2Vec2Model(transformers.Wav2Vec2Config()).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(folder)


def import_transformers():
    from featx.vision import import_after_torchvision

    return import_after_torchvision("transformers", "transformers", "this benchmark")


def run_featx(method: str, args: argparse.Namespace) -> dict:
    import numpy as np

    from featx import load_backbone
    from featx.extraction import embed, network_embedder
    from featx.inputs.audio import FileClip, SampledClip
    from featx.options import Run

    backbone = load_backbone(f"hf:{args.network}")
    backbone.module  # noqa: B018  built before the clock starts
    files = json.loads(Path(args.files).read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as cache:
        # The engine and the calibration of a first run are kept, so that the clock sees no building.
        noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16000 * 3).astype(np.float32)
        few = [SampledClip(f"noise {i}", noise[i * 40 :], 16000) for i in range(40)]
        if method == "int8":
            few += [FileClip(file, file) for file in files[:40]]
            few = few[::-1]
        else:  # as many as the engine is built for
            few *= 1 + len(files) // len(few)
            few = [SampledClip(f"noise {i}", one.samples, 16000) for i, one in enumerate(few)]
        embed(few, network_embedder(backbone, Run(**METHODS[method])), cache=cache)
        clock = Clock()
        clips = [FileClip(file, file) for file in files]
        rows = embed(clips, network_embedder(backbone, Run(**METHODS[method])), cache=cache)
        wall, cpu = clock.read()
    profile = rows.profile.to_dict()
    wall -= profile["building"]
    return {"wall": wall, "cpu": cpu, "profile": profile, "parity": rows.parity, "rows": rows.embeddings}


def run_loop(batch_size: int, args: argparse.Namespace) -> dict:
    """What a tutorial writes: clips in their order, padded, in fp32; the mean over time."""
    transformers = import_transformers()
    import soundfile
    import soxr
    import torch

    network, extractor, is_whisper = load_peer(transformers, args)
    files = json.loads(Path(args.files).read_text(encoding="utf-8"))
    clock, rows = Clock(), []
    with torch.no_grad():
        for start in range(0, len(files), batch_size):
            sounds = []
            for file in files[start : start + batch_size]:
                samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
                sounds.append(soxr.resample(samples.mean(axis=1), rate, 16000))
            if is_whisper:
                inputs = extractor(sounds, sampling_rate=16000, return_tensors="pt")
                rows.append(network(inputs["input_features"]).last_hidden_state.mean(1))
                continue
            inputs = extractor(
                sounds, sampling_rate=16000, padding=True, return_attention_mask=True, return_tensors="pt"
            )
            states = network(**inputs).last_hidden_state
            mask = network._get_feature_vector_attention_mask(states.shape[1], inputs["attention_mask"])
            rows.append((states * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True))
    wall, cpu = clock.read()
    return {"wall": wall, "cpu": cpu, "rows": torch.cat(rows).numpy()}


def load_peer(transformers, args: argparse.Namespace):
    """Return the network of transformers with its feature extractor, and whether it is Whisper's encoder."""
    if Path(args.network).is_dir():
        network = transformers.AutoModel.from_pretrained(args.network).eval()
        extractor = transformers.AutoFeatureExtractor.from_pretrained(args.network)
        encoder = getattr(network, "encoder", None)
        is_whisper = network.config.model_type == "whisper"
        return (encoder if is_whisper else network), extractor, is_whisper
    # A name whose files featx finds in another format: its encoder is that of transformers.
    from featx import load_backbone

    module = load_backbone(f"hf:{args.network}").module
    encoder = next(part for part in module.modules() if type(part).__name__ == "WhisperEncoder")
    size = encoder.config.num_mel_bins
    return encoder, transformers.WhisperFeatureExtractor(feature_size=size), True


def one(what: str, args: argparse.Namespace) -> dict:
    import numpy as np

    if what.startswith("loop-"):
        found = run_loop(int(what.removeprefix("loop-")), args)
    else:
        found = run_featx(what, args)
    np.save(args.rows, of_norm_one(found.pop("rows")))
    return found


def measure(args: argparse.Namespace, what: str, rows: str) -> dict:
    import featx

    command = [sys.executable, __file__, args.clips, args.network, "--files", args.files]
    path = [str(Path(featx.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [*command, "--one", what, "--rows", rows],
        env=environment | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{what}: {done.stderr.strip().splitlines()[-1]}")
    result: dict = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def report(args: argparse.Namespace, folder: str) -> None:
    import numpy as np
    import soundfile

    from featx.machine import cores, cpu_name
    from featx.results import describe_environment

    files = find_files(args.clips, args.limit)
    if args.seconds:
        files = make_longer(files, args.seconds, folder)
    if args.random:
        args.network = f"{folder}/network"
        write_random(args.random, args.network)
    args.files = f"{folder}/files.json"
    Path(args.files).write_text(json.dumps(files), encoding="utf-8")
    seconds = sum(soundfile.info(file).duration for file in files)
    known = describe_environment()
    packages = [name for name in ("torch", "openvino", "transformers") if name in known]
    print(f"{cpu_name()}, {cores()} cores; {', '.join(f'{name} {known[name]}' for name in packages)}")
    print(
        f"{args.random or args.network}: {len(files):,} clips, {seconds:,.0f} s of audio, "
        f"{args.rounds} rounds in turn, medians\n"
    )
    loops = [f"loop-{size}" for size in args.batch_sizes]
    taken = run_rounds(
        [*loops, *args.methods], args.rounds, lambda name: measure(args, name, f"{folder}/{name}.npy")
    )
    best = fastest(taken, loops)
    print(f"{'':<12}{'s of audio/s':>13}{'x loop':>8}{'cores, s':>10}{'x loop':>8}{'cosine to loop-1':>18}")
    expected = np.load(f"{folder}/{loops[0]}.npy")
    for name in taken:
        median, ratio = summarise(taken, name, best)
        cosine = (np.load(f"{folder}/{name}.npy") * expected).sum(axis=1).min()
        print(
            f"{name:<12}{seconds / median['wall']:>13.1f}{ratio['wall']:>8.2f}{median['cpu']:>10.2f}"
            f"{ratio['cpu']:>8.2f}{cosine:>18.6f}"
        )
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": known, "taken": taken}, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clips", help="a folder of audio files, or a .csv with a column path")
    parser.add_argument("network", nargs="?", default="openai/whisper-tiny.en", help="a name or a folder")
    parser.add_argument("--random", choices=RANDOM, help="a network of this size with random weights")
    parser.add_argument("--seconds", type=float, help="repeat each clip up to this length")
    parser.add_argument("--limit", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--methods", nargs="+", default=["fp32", "bf16", "int8"], choices=sorted(METHODS))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 16], help="of the loop")
    parser.add_argument("--json", metavar="FILE", help="every measurement, with profiles")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--files", help=argparse.SUPPRESS)
    parser.add_argument("--rows", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args.one, args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(args, folder)


if __name__ == "__main__":
    main()
