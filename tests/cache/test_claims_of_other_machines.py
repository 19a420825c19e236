"""Runs on several machines share out the work where each sees its own locks only, or none, or all of them."""

from __future__ import annotations

import errno
import os
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from featx.cache import Cache, Claims, claim_files, claims
from featx.cache.identity import digest_bytes
from featx.extraction import embed, pixel_embedder
from featx.inputs.image import PixelImage

pytestmark = pytest.mark.skipif(claims.fcntl is None, reason="this platform has no flock")

DIGESTS = [digest_bytes(bytes([i])) for i in range(40)]


class Network:
    """A folder that several machines see. Each claim is made by the machine that `on` names."""

    def __init__(self, monkeypatch, folder):
        self.folder, self.locks, self.now = folder, "local", 0.0
        self.machine = "00000001"
        self.held: dict[int, tuple[str, int]] = {}
        real = claims.fcntl

        def flock(file, how):
            if self.locks == "none":
                raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
            # Where locks are local, those of another machine do not exist: their numbers differ.
            inode = os.fstat(file).st_ino
            shown = inode if self.locks == "shared" else (self.machine, inode)
            others = [one for one, (held, _) in self.held.items() if held == shown and one != file]
            if how & real.LOCK_UN:
                self.held.pop(file, None)
            elif any(self.is_open(one, inode) for one in others):
                raise BlockingIOError(errno.EAGAIN, "locked")
            else:
                self.held[file] = shown, inode

        fake = SimpleNamespace(flock=flock, LOCK_EX=real.LOCK_EX, LOCK_NB=real.LOCK_NB, LOCK_UN=real.LOCK_UN)
        for module in (claims, claim_files):
            monkeypatch.setattr(module, "fcntl", fake)
        monkeypatch.setattr(claim_files, "boot_digits", lambda: self.machine)
        monkeypatch.setattr(claims, "_LOOKING_SECONDS", 1e9)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=time.sleep)
        for module in (claims, claim_files):
            monkeypatch.setattr(module, "time", clock)

    def is_open(self, file, inode):
        try:
            return os.fstat(file).st_ino == inode
        except OSError:
            return False

    def on(self, machine):
        """Let the next calls be those of another machine."""
        self.machine = f"{machine:08x}"

    def claims(self, machine):
        self.on(machine)
        return OnMachine(self, machine, Claims(self.folder))


class OnMachine:
    """Claims whose every call is made by one machine."""

    def __init__(self, network, machine, inner):
        self.network, self.machine, self.inner = network, machine, inner

    def __getattr__(self, name):
        self.network.on(self.machine)
        return getattr(self.inner, name)

    def die(self):
        """End as a kill ends a process: its file stays, its lock does not."""
        self.network.held.pop(self.inner._file, None)
        self.inner._ended.set()
        os.close(self.inner._file)
        self.inner._file = self.inner._path = None


@pytest.fixture
def network(monkeypatch, tmp_path):
    return Network(monkeypatch, tmp_path)


@pytest.mark.parametrize("locks", ["local", "shared", "none"])
def test_each_digest_is_given_to_one_of_several_machines(network, locks):
    network.locks = locks
    a, b, c = (network.claims(machine) for machine in (1, 2, 3))
    assert a.take(DIGESTS[:3]) == [True, True, True]
    assert b.take(DIGESTS[1:5]) == [False, False, True, True]
    assert c.take(DIGESTS[:6]) == [False] * 5 + [True]
    assert a.take(DIGESTS[:6]) == [False] * 6
    b.close()
    assert a.take(DIGESTS[3:5]) == [True, True]


@pytest.mark.parametrize("locks", ["local", "none"])
def test_the_claims_of_another_machine_hold_for_their_lease_and_no_longer(network, locks):
    network.locks = locks
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:2])
    assert b.take(DIGESTS[:3]) == [False, False, True]
    a.die()
    network.now += claim_files.LEASE_SECONDS - 1
    assert b.free(DIGESTS[:2]) == [False, False]
    assert b.void_silent(0) == []
    network.now += 1
    assert b.free(DIGESTS[:2]) == [True, True]
    assert b.take(DIGESTS[:2]) == [True, True]
    # The file is removed, so that later runs do not wait, too.
    assert network.claims(3).take(DIGESTS[:2]) == [False, False]
    assert sum(path.name.endswith(".claim") for path in network.folder.iterdir()) == 1


def test_the_lease_begins_when_the_reader_first_sees_the_file_whatever_its_times(network):
    """Clocks of two machines are never compared: a file may come from the past or the future."""
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    path = a.inner._path
    for moment in (0, 4_000_000_000):
        os.utime(path, (moment, moment))
        network.now += claim_files.LEASE_SECONDS - 1
        assert b.free(DIGESTS[:1]) == [False]


def test_a_run_that_works_renews_its_lease_by_claims_commits_and_by_itself(network):
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    for step in (lambda: a.renew(), lambda: a.committed([]), lambda: a.take(DIGESTS[1:2])) * 3:
        assert b.free(DIGESTS[:1]) == [False]
        network.now += claim_files.LEASE_SECONDS - 1
        time.sleep(0.02)  # a file system's clock ticks slowly
        step()
    assert b.free(DIGESTS[:1]) == [False]


def test_a_file_that_is_shown_a_minute_late_does_not_end_a_lease(network, monkeypatch):
    """NFS may show a state that is up to 60 s old, and the owner renews every 20 s."""
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    real, late = os.fstat, {}

    def fstat(file):
        seen = real(file)
        at, shown = late.get(seen.st_ino, (-1e9, None))
        if network.machine != "00000002" or network.now - at >= 60:
            late[seen.st_ino] = network.now, seen
            return seen
        return shown if network.machine == "00000002" else seen

    for _ in range(30):
        network.now += claims._RENEW_SECONDS
        time.sleep(0.01)
        a.renew()
        with monkeypatch.context() as patched:
            patched.setattr(claim_files.os, "fstat", fstat)
            assert b.free(DIGESTS[:1]) == [False]
        a.committed([]) if network.now > 500 else None


def test_a_run_that_hangs_is_no_longer_renewed_after_some_minutes(network):
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    waited = 0
    while b.free(DIGESTS[:1]) == [False]:
        network.now += claims._RENEW_SECONDS
        waited += claims._RENEW_SECONDS
        time.sleep(0.005)
        a.renew()  # the thread for that goes on, whatever the others do
        assert waited < 1000
    assert waited >= claims._MOST_SILENCE


def test_a_run_whose_file_was_removed_makes_a_new_one(network):
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:2])
    b.free(DIGESTS[:2])
    network.now += claim_files.LEASE_SECONDS
    assert b.free(DIGESTS[:2]) == [True, True]  # stopped, or cut off, for so long
    assert not a.inner._path.exists()
    a.take(DIGESTS[2:3])  # changes shown
    a.renew()
    assert b.free(DIGESTS[:4]) == [False, False, False, True]


def test_where_locks_are_shared_the_end_of_a_run_is_seen_at_once(network):
    network.locks = "shared"
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:2])
    assert b.free(DIGESTS[:2]) == [False, False]
    a.die()
    assert b.free(DIGESTS[:2]) == [True, True]


def test_a_reader_of_a_free_lock_does_not_keep_it(network):
    network.locks = "local"
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    b.free(DIGESTS[:1])
    files = {other._file for other in b.inner._others.values()}
    assert files
    assert not files & network.held.keys()


def test_a_file_whose_lock_fails_is_not_looked_at_again_for_now(network, monkeypatch):
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])

    def fail(other):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(claim_files.OtherRun, "has_ended", fail)
    assert b.take(DIGESTS[:1]) == [True]  # computed twice, and both are right
    assert a.inner._path.exists()


def test_of_two_that_claim_at_one_moment_one_gives_way(network):
    """Each looks before the other's claim is seen; then both see both."""
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[10:11])
    b.take(DIGESTS[11:12])
    inner, write = a.inner, a.inner._write
    taken = []

    def write_later(digests):
        inner._write = write
        taken.append(b.take(DIGESTS[:2]))
        network.on(1)
        write(digests)

    inner._write = write_later
    taken.append(a.take(DIGESTS[:2]))
    first, second = taken
    # The one that looked first keeps its claims; the other gives way if its name is the later one.
    assert first == [True, True]
    assert second == [a.inner._path.name < b.inner._path.name] * 2
    assert a.free(DIGESTS[:2]) == [False, False]


def test_earlier_versions_are_seen_as_before(network):
    from featx.durable import host_name

    a = network.claims(1)
    for host, number in ((host_name(), 1), ("another", 2)):
        (network.folder / f"{number:032x}.{host}.{number}.claim").write_bytes(DIGESTS[number])
    assert a.take(DIGESTS[:3]) == [True, True, False]  # that of this machine holds no lock


def test_two_machines_with_one_host_name_are_told_apart(network):
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    b.take(DIGESTS[1:2])
    names = [one.inner._path.name.split(".")[1] for one in (a, b)]
    assert names[0] != names[1]
    assert all(claims.CLAIM_NAME.fullmatch(one.inner._path.name) for one in (a, b))
    network.now += 10
    assert b.free(DIGESTS[:1]) == [False]  # though its lock is free here


def test_many_files_of_others_are_read_for_a_tenth_of_the_time(network, monkeypatch):
    monkeypatch.setattr(claims, "_LOOKING_SECONDS", 0.5)
    a, b = network.claims(1), network.claims(2)
    a.take(DIGESTS[:1])
    read = claim_files.OtherRun.read_on
    reads = []

    def slow(self):
        reads.append(network.now)
        network.now += 0.2
        read(self)

    monkeypatch.setattr(claim_files.OtherRun, "read_on", slow)
    for _ in range(2000):
        b.free(DIGESTS[:1])
        network.now += 0.01
    assert 0.05 * network.now < 0.2 * len(reads) < 0.15 * network.now + 1


def test_it_renews_by_itself_and_the_thread_ends_with_the_claims(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_RENEW_SECONDS", 0.02)
    mine = Claims(tmp_path)
    mine.take(DIGESTS[:1])
    before = os.stat(mine._path)
    deadline = time.monotonic() + 10
    while os.stat(mine._path).st_ctime_ns == before.st_ctime_ns:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert os.stat(mine._path).st_mtime_ns == before.st_mtime_ns
    thread = mine._renewing
    mine.drop_all()
    assert not thread.is_alive()


def test_the_thread_ends_when_the_claims_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_RENEW_SECONDS", 0.02)
    mine = Claims(tmp_path)
    mine.take(DIGESTS[:1])
    file, thread = mine._file, mine._renewing
    del mine
    thread.join(10)
    assert not thread.is_alive()
    os.close(file)


# A whole run


def pictures(n):
    drawn = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return [PixelImage(str(i), one) for i, one in enumerate(drawn)]


def test_a_run_does_not_wait_for_ever_for_a_machine_that_died(tmp_path, monkeypatch):
    """Its rows are computed here when its lease is over, and later runs do not wait again."""
    monkeypatch.setattr(claim_files, "LEASE_SECONDS", 0.5)
    embedder = pixel_embedder(8)
    store = Cache(tmp_path).space(embedder.space)
    store.prepare()
    left = store.path / "tmp" / f"{0:032x}.node7-00000007.7.claim"
    left.write_bytes(b"".join(picture.read().digest for picture in pictures(3)))
    rows = embed(pictures(6), embedder, cache=tmp_path, n_jobs=1)
    assert rows.computed == 6
    assert not left.exists()


def test_a_run_waits_for_a_machine_that_works_and_takes_its_rows(tmp_path, monkeypatch):
    embedder = pixel_embedder(8)
    store = Cache(tmp_path).space(embedder.space)
    store.prepare()
    given = pictures(6)
    digests = [picture.read().digest for picture in given]
    left = store.path / "tmp" / f"{0:032x}.node7-00000007.7.claim"
    left.write_bytes(b"".join(digests[:3]))

    def work():
        alone = embed(given[:3], embedder, cache=tmp_path.with_name("alone"), n_jobs=1)
        time.sleep(0.3)
        store.publish(digests[:3], alone.embeddings)
        left.unlink()

    other = threading.Thread(target=work)
    other.start()
    rows = embed(given, embedder, cache=tmp_path, n_jobs=1)
    other.join()
    assert rows.computed == 3
    assert len(rows.embeddings) == 6


def test_a_run_works_where_nothing_can_be_locked(tmp_path, monkeypatch):
    def flock(file, how):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    for module in (claims, claim_files):
        fake = SimpleNamespace(flock=flock, LOCK_EX=2, LOCK_NB=4, LOCK_UN=8)
        monkeypatch.setattr(module, "fcntl", fake)
    first = embed(pictures(5), pixel_embedder(8), cache=tmp_path, n_jobs=1)
    again = embed(pictures(6), pixel_embedder(8), cache=tmp_path, n_jobs=1)
    assert (first.computed, again.computed) == (5, 1)
    assert not list(tmp_path.rglob("*.claim"))
