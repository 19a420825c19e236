"""Tell speakers apart: an encoder of voices, frozen, against filter banks and cepstral coefficients.

    python pipelines/speakers.py --data spoken-digits/clips.csv --label speaker

The data is a table with a column ``path`` and one of speakers, or a folder with a folder of clips a speaker.
The encoder is resemblyzer's (``pip install --no-deps resemblyzer``; only its file of weights is read), as a
module of your own: it takes samples, computes the spectrogram in front, and gives one row for each window of
1.6 s. Without that package, only Kaldi's filter banks and cepstral coefficients (``kaldi:fbank``,
``kaldi:mfcc``), which need no weights, are compared.

Each speaker is learnt from ``--clips`` recordings, 10 by default. On 1,200 spoken digits of four speakers
(40 clips to train on, 300 to test) expect 0.987 of the encoder, 0.960 of filter banks and 0.917 of
coefficients.
"""

import argparse
import importlib.util
from pathlib import Path

import numpy as np
import torch
from torch import nn

from featx import extract, load_backbone, load_dataset
from featx.data.splits import make_split
from featx.methods.probes import fit_probe
from featx.metrics import proportion_interval

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", required=True, help="a table of clips, or a folder with a folder a speaker")
parser.add_argument(
    "--backbone", nargs="+", default=["kaldi:fbank", "kaldi:mfcc"], help="what it is set against"
)
parser.add_argument("--limit", type=int, help="a stratified subset of this many clips")
parser.add_argument("--label", help="the column of speakers")
parser.add_argument("--clips", type=int, default=10, help="training clips of each speaker (default: 10)")
parser.add_argument("--classifier", default="logreg", help="a probe (default: logreg)")
parser.add_argument("--seed", type=int, default=0)

RATE, FRAME, SHIFT, BANDS = 16000, 400, 160, 40


def mel_filters():
    """Triangles (bands, frequencies) of area 1 on Slaney's mel scale, which is linear up to 1,000 Hz."""
    mels = np.linspace(0, 15 + 27 * np.log(RATE / 2000) / np.log(6.4), BANDS + 2)
    hertz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp((mels - 15) * np.log(6.4) / 27))
    at = np.linspace(0, RATE / 2, FRAME // 2 + 1)
    left, centre, right = hertz[:-2, None], hertz[1:-1, None], hertz[2:, None]
    rising, falling = (at - left) / (centre - left), (right - at) / (right - centre)
    return 2 / (right - left) * np.minimum(rising, falling).clip(0)


class SpeakerEncoder(nn.Module):
    """Resemblyzer's encoder (Wan et al., 2018): mel spectrogram, three LSTMs, one row of length 1."""

    def __init__(self, state):
        super().__init__()
        self.register_buffer("filters", torch.tensor(mel_filters(), dtype=torch.float32))
        self.register_buffer("hann", torch.hann_window(FRAME))
        self.lstm, self.linear = nn.LSTM(BANDS, 256, 3, batch_first=True), nn.Linear(256, 256)
        self.lstm.load_state_dict({k[5:]: v for k, v in state.items() if k.startswith("lstm.")})
        self.linear.load_state_dict({k[7:]: v for k, v in state.items() if k.startswith("linear.")})

    def forward(self, samples):
        found = torch.stft(samples, FRAME, SHIFT, window=self.hann, pad_mode="constant", return_complex=True)
        spectrogram = (self.filters @ found.abs().square()).transpose(1, 2)
        row = self.linear(self.lstm(spectrogram)[0][:, -1]).relu()
        return row / row.norm(dim=1, keepdim=True)


def speaker_encoder():
    """Return the encoder as a backbone; None where its weights are not on this machine."""
    package = importlib.util.find_spec("resemblyzer")
    if package is None:
        return None
    state = torch.load(Path(package.origin).with_name("pretrained.pt"), map_location="cpu", weights_only=True)
    clips = {"kind": "clip", "rate": RATE, "pad": True}  # shorter clips are repeated up to a window
    encoder = SpeakerEncoder(state["model_state"])
    return load_backbone(
        encoder, preprocessing=clips, window=1.6, hop=0.8, layer="embedding", name="resemblyzer"
    )


if __name__ == "__main__":
    args = parser.parse_args()
    dataset = load_dataset(args.data, label=args.label, limit=args.limit)
    split = make_split(dataset.labels, seed=args.seed)
    drawn = np.random.default_rng(args.seed).permutation(split.train)
    labels, truth = dataset.labels[drawn], dataset.labels[split.test]
    known = np.concatenate([drawn[labels == k][: args.clips] for k in range(len(dataset.classes))])
    print(f"{len(known)} clips of {len(dataset.classes)} speakers to train on, {len(truth)} to test")
    encoder = speaker_encoder()
    if encoder is None:
        print("resemblyzer is not installed: filter banks and cepstral coefficients alone")
    for backbone in [*([encoder] if encoder else []), *args.backbone]:
        rows = extract(dataset, backbone=backbone, engine="torch", precision="fp32").embeddings
        probe = fit_probe(args.classifier, rows[known], dataset.labels[known], seed=args.seed)
        interval = proportion_interval(probe.predict(rows[split.test]) == truth)
        name = backbone if isinstance(backbone, str) else backbone.name
        print(f"{name} ({rows.shape[1]} numbers a clip): test accuracy {interval}")
