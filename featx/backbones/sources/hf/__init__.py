"""Networks of the package transformers, as ``hf:NAME`` (on the Hugging Face hub) or ``hf:FOLDER``.

Networks of images (`architecture`), of texts (`text_architecture`) and of audio (`audio_architecture`), told
apart by their configuration. No code of a repository is run (`trust_remote_code` stays False).
"""

from __future__ import annotations

from featx.backbones.architectures import Architecture, BackboneSource
from featx.backbones.sources.hf.architecture import HfArchitecture
from featx.backbones.sources.hf.audio_architecture import HfAudioArchitecture
from featx.backbones.sources.hf.audio_families import takes_audio
from featx.backbones.sources.hf.ctranslate2 import states_ctranslate2
from featx.backbones.sources.hf.networks import takes_texts
from featx.backbones.sources.hf.repository import Repository
from featx.backbones.sources.hf.text_architecture import HfTextArchitecture
from featx.errors import InputError


class HfSource(BackboneSource):
    """All networks of transformers of images, texts or audio, on the Hugging Face hub or in folders."""

    name = "hf"

    def architecture(self, name: str) -> HfArchitecture:
        """Return the architecture of a repository or folder."""
        found = HfArchitecture(name)
        if takes_audio(found.config) or states_ctranslate2(found.config):
            return HfAudioArchitecture(name)
        return HfTextArchitecture(name) if takes_texts(found.config, f"hf:{name}") else found

    def find(self, name: str) -> tuple[Architecture, str | None] | None:
        """Return the architecture of a name; a hash of its configuration behind ``#`` must be that here."""
        named, _, digest = name.partition("#")
        if digest and not Repository(name).folder:
            architecture = self.architecture(named)
            here = architecture.identity_name
            if here != name:
                raise InputError(f"hf:{name}: the configuration of hf:{named} is another one here ({here})")
            return architecture, None
        return self.architecture(name.rstrip("/") or name), None
