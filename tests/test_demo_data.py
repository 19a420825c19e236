"""The photographs of `make demo`: which are chosen, how they come here, what stands in for them; offline."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from pictures import picture

import featx
from featx.cli.parser import build_parser
from featx.errors import DatasetError

SCRIPT = Path(__file__).parent.parent / "data" / "demo_data.py"


@pytest.fixture
def demo(tmp_path, monkeypatch):
    """The script as a module, in a folder of its own, where neither the package nor any program is."""
    spec = importlib.util.spec_from_file_location("demo_data", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "INSTALLED", tmp_path / "not-installed")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    return module


def write_stamps(demo, root):
    """A photograph for each class, and beside those of the vehicles what is none, or none of its own."""
    for seed, parts in enumerate(demo.CLASSES.values()):
        for part in parts:
            (root / part / "deeper").mkdir(parents=True)
            picture((90, 120, 150), seed).save(root / part / "deeper" / f"{Path(part).name}.png")
    vehicles = root / "vehicles"
    for name in ("dumper", "dumper_mirror", "Dumper2", "dumpers", "drawn"):
        picture((200, 60, 40), 7).save(vehicles / f"{name}.png")
    (vehicles / "drawn.svg").write_text("<svg/>")
    for folder in ("cartoon", "toys"):
        (vehicles / folder).mkdir()
        picture((200, 60, 40), 8).save(vehicles / folder / "train.png")
    flat = picture((0, 0, 0), 9)
    flat.paste((255, 200, 0), (0, 0, 40, 29))
    flat.save(vehicles / "flat.png")
    cut_out = picture((0, 0, 0), 10).convert("RGBA")
    cut_out.paste((255, 255, 255, 0), (0, 0, 40, 29))  # the background of a photograph is flat as well
    cut_out.save(vehicles / "cut-out.png")
    return root


def programs(folder, **scripts):
    for name, script in scripts.items():
        path = folder / "bin" / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        path.chmod(0o755)


def only(monkeypatch, name):
    """Make `name` the one dataset that can be loaded."""

    def load(asked):
        if asked != name:
            raise DatasetError(f"{asked}: the download failed")

    monkeypatch.setattr(featx, "load_dataset", load)


def test_photographs_are_chosen_and_drawings_toys_and_variants_are_not(demo, tmp_path, capsys):
    demo.INSTALLED = write_stamps(demo, tmp_path / "toys")  # a name above the stamps says nothing
    assert demo.main([]) == 0
    said = capsys.readouterr()
    assert said.out == f"data/downloads/stamps {demo.ARGUMENTS}\n"
    stamps = tmp_path / "data" / "downloads" / "stamps"
    assert {path.name for path in stamps.iterdir()} == set(demo.CLASSES)
    assert {path.name for path in (stamps / "vehicles").iterdir()} == {
        *("vehicles.png", "dumper.png", "dumpers.png", "cut-out.png")
    }
    assert {path.name for path in (stamps / "mammals").iterdir()} == {"mammals.png", "marsupials.png"}
    assert "2 mammals" in said.err
    assert "4 vehicles" in said.err
    assert f"{len(list(stamps.rglob('*.png')))} photographs" in said.err


def test_a_second_run_uses_what_is_there(demo, tmp_path, capsys):
    demo.INSTALLED = write_stamps(demo, tmp_path / "stamps")
    assert demo.main(["photos"]) == 0
    (tmp_path / "photos" / "vehicles" / "dumper.png").unlink()
    demo.INSTALLED = tmp_path / "not-installed"
    capsys.readouterr()
    assert demo.main(["photos"]) == 0
    assert capsys.readouterr().out == f"photos {demo.ARGUMENTS}\n"
    assert not (tmp_path / "photos" / "vehicles" / "dumper.png").exists()


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "no list of packages"])
def test_the_package_is_downloaded_and_unpacked_without_root(demo, tmp_path, listed):
    tree = write_stamps(demo, tmp_path / "package" / demo.STAMPS).parents[3]
    programs(
        tmp_path,
        apt_get=f"""
            case "$*" in
            -o*Dir::State::lists=*update) touch {tmp_path}/updated;;
            *download*) [ {int(listed)} = 1 ] || [ -e {tmp_path}/updated ] || exit 100; touch x.deb;;
            esac""",
        dpkg_deb=f'[ "$1" = -x ] && [ -e "$2" ] && cp -r {tree} "$3"',
    )
    assert demo.have_stamps(tmp_path / "photos")
    assert (tmp_path / "photos" / "birds" / "birds.png").exists()
    assert (tmp_path / "updated").exists() is not listed
    assert not list(tmp_path.glob(".photos-*"))


def test_a_download_that_breaks_off_leaves_nothing_and_the_next_dataset_is_taken(
    demo, tmp_path, capsys, monkeypatch
):
    programs(
        tmp_path,
        apt_get="""
            case "$*" in *update) exit;; esac
            echo half > x.deb; echo "E: Failed to fetch" >&2; exit 100""",
        dpkg_deb="exit 2",
    )
    (tmp_path / ".photos-killed").mkdir()
    only(monkeypatch, "eurosat")
    assert demo.main(["photos"]) == 0
    said = capsys.readouterr()
    assert said.out == f"eurosat {demo.OTHERS['eurosat']}\n"
    assert f"No photographs of Debian's {demo.PACKAGE}: E: Failed to fetch\n" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"bin"}


def test_a_run_stopped_by_the_keyboard_leaves_nothing(demo, tmp_path, monkeypatch):
    programs(tmp_path, apt_get="", dpkg_deb="")

    def stop(command, folder):
        (folder / "x.deb").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.main(["photos"])
    assert {path.name for path in tmp_path.iterdir()} == {"bin"}


def test_without_apt_and_network_the_digits_are_left(demo, tmp_path, capsys, monkeypatch):
    only(monkeypatch, "digits")
    assert demo.main(["photos"]) == 0
    said = capsys.readouterr()
    assert said.out == f"digits {demo.OTHERS['digits']}\n"
    assert "there is no apt-get here" in said.err
    assert "eurosat: the download failed" in said.err
    assert "fashion-mnist: the download failed" in said.err


def test_a_package_without_one_of_the_classes_is_refused(demo, tmp_path, capsys):
    demo.INSTALLED = write_stamps(demo, tmp_path / "stamps")
    (demo.INSTALLED / "vehicles").rename(demo.INSTALLED / "cars")
    assert not demo.have_stamps(tmp_path / "photos")
    assert "has no photographs of vehicles" in capsys.readouterr().err
    assert not (tmp_path / "photos").exists()


def test_what_is_printed_are_arguments_of_compare(demo):
    for data, options in {"photos": demo.ARGUMENTS, **demo.OTHERS}.items():
        build_parser().parse_args(["compare", data, *options.split(), "-o", "demo"])
