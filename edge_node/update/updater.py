"""Installs a bundle, gives it its trial, returns to the old version when it fails."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

from edge_node.errors import EdgeNodeError
from edge_node.update import build
from edge_node.update.bundle import Bundle, BundleRefused, Manifest, version_key
from edge_node.update.health import Bad, Good, HealthGate, is_in_call, is_online, working_parts
from edge_node.update.records import Pending
from edge_node.update.slots import Slots
from edge_node.update.world import World

LOOK_EVERY_S = 1.0
CALL_DEADLINE_S = 900.0
ASKED = 3
WRITE_DEADLINE_S = 120.0

Tell = build.Tell


class Updater:
    """One machine's updates; `tell` hears of each step."""

    def __init__(self, slots: Slots, world: World, tell: Tell) -> None:
        self._slots = slots
        self._world = world
        self._tell = tell

    def apply(self, path: Path, trusted: Iterable[Path], *, downgrade: bool = False) -> bool:
        """Installs a bundle next to what runs and switches to it; True when it was kept.

        Raises BundleRefused, or EdgeNodeError when it could not be tried: the old version goes on then.
        """
        with self._slots.busy(), Bundle(path, trusted) as bundle:
            manifest = bundle.manifest
            build.check(self._slots, manifest, path.stat().st_size, downgrade=downgrade)
            if self._slots.pending() is not None:
                raise EdgeNodeError("the last update is still proving itself: try again in a few minutes")
            current = self._working_slot()
            if current is None:
                self._install(bundle)
                self._restart()
                return True
            if (self._slots.about(current) or {}).get("version") == manifest.version:
                raise BundleRefused(f"version {manifest.version} runs already: there is nothing to do")
            new = self._slots.idle()
            build.fill(self._slots, new, bundle, self._tell)
            self._begin(current, new, manifest.version, self._floor_after(manifest))
            return self._settle()

    def install(self, path: Path, trusted: Iterable[Path], *, downgrade: bool = False) -> None:
        """Puts a bundle into a slot without a trial: the first installation. Raises as apply() does."""
        with self._slots.busy(), Bundle(path, trusted) as bundle:
            build.check(self._slots, bundle.manifest, path.stat().st_size, downgrade=downgrade)
            # The slot that would be emptied is the way back of a trial, or may be the only one that works.
            self._tell_if(self._slots.take_back("another version was installed meanwhile"))
            self._working_slot()
            self._install(bundle)

    def rollback(self) -> bool:
        """Returns to the other slot, with the same trial; True when it was kept. Raises EdgeNodeError."""
        with self._slots.busy():
            current, other = self._slots.current(), self._slots.idle()
            about = self._slots.about(other)
            if current is None or about is None or not self._slots.usable(other):
                raise EdgeNodeError("there is no other version to return to: install one with edge-node update apply")
            floor = self._slots.floor()
            if version_key(about["version"]) < version_key(floor):
                raise EdgeNodeError(f"version {about['version']} is below {floor}, the lowest that is still safe")
            self._begin(current, other, about["version"], floor)
            return self._settle()

    def settle(self) -> bool | None:
        """Goes on with a trial that was cut off; True when the version was kept, None when none was on trial."""
        with self._slots.busy(wait=True):
            return None if self._slots.pending() is None else self._settle()

    def restart(self) -> None:
        """Starts what runs again, when no call is on: units and guard may be new. Raises EdgeNodeError."""
        if not self._wait_for_idle():
            raise EdgeNodeError("a call does not end: restart the node yourself, systemctl restart edge-node")
        self._world.restart()

    def _working_slot(self) -> str | None:
        """The slot that runs; the other one from now on, where that cannot run any more; None when neither can."""
        current = self._slots.current()
        if current is None or not self._slots.usable(current):
            try:
                self._tell_if(self._slots.guard())
            except EdgeNodeError:
                return None
        return self._slots.current()

    def _install(self, bundle: Bundle) -> None:
        name = self._slots.idle()
        build.fill(self._slots, name, bundle, self._tell)
        self._slots.install(name, bundle.manifest.version, self._floor_after(bundle.manifest))
        self._tell(f"version {bundle.manifest.version} is in slot {name}")

    def _floor_after(self, manifest: Manifest) -> str:
        return max(self._slots.floor(), manifest.floor, key=version_key)

    def _wait_for_idle(self) -> bool:
        """False: a call has been on for too long."""
        begun_at = self._world.now()
        told = False
        while self._in_call():
            if self._world.now() - begun_at >= CALL_DEADLINE_S:
                return False
            if not told:
                self._tell("waiting for the call to end")
                told = True
            self._world.sleep(LOOK_EVERY_S)
        return True

    def _in_call(self) -> bool:
        """A busy daemon may let one question pass; only one that is silent again and again is taken for dead."""
        for _ in range(ASKED):
            if (status := self._world.status()) is not None:
                return is_in_call(status)
            self._world.sleep(LOOK_EVERY_S)
        return False

    def _begin(self, old: str, new: str, version: str, floor: str) -> None:
        too_long = f"a call has been on for {CALL_DEADLINE_S / 60:g} minutes: try again when it is over"
        if not self._wait_for_idle():
            raise EdgeNodeError(too_long)
        status = self._world.status()
        pending = Pending(uuid.uuid4().hex, old, new, version, floor, is_online(status), working_parts(status))
        try:
            said = self._slots.begin(pending)
        except OSError as err:
            raise EdgeNodeError(f"the update could not be written down ({err}): the old version goes on") from None
        self._tell_if(said)
        # Settings may have been looked at for half a minute: somebody may have rung meanwhile.
        if not self._wait_for_idle():
            self._tell_if(self._slots.withdraw())
            raise EdgeNodeError(too_long)
        self._tell(f"starting version {version}")
        self._restart()

    def _tell_if(self, said: str | None) -> None:
        if said is not None:
            self._tell(said)

    def _settle(self) -> bool:
        """Looks until the new version has proved itself or failed to."""
        pending = self._slots.pending()
        if pending is None:  # it died so fast that the guard was there before us
            return self._outcome()
        gate = HealthGate(pending.version, was_online=pending.was_online, worked=pending.worked)
        while True:
            pending = self._slots.pending()
            if pending is None:  # the guard has taken it back meanwhile
                return self._outcome()
            match gate.look(self._world.status(), self._world.now()):
                case Good():
                    self._written(self._slots.accept)
                    return self._outcome()
                case Bad(reason):
                    self._tell(f"returning to the old version: {reason}")
                    # Some of it works, then. At the deadline it is left all the same: it may only believe in a call.
                    self._wait_for_idle()
                    if self._slots.pending() is not None:
                        self._tell_if(self._written(lambda: self._slots.take_back(reason)))
                        self._restart()
                    return self._outcome()
            self._world.sleep(LOOK_EVERY_S)

    def _written(self, step: Callable[[], str | None]) -> str | None:
        """Does a step that may be done again, until the disk takes it. Raises EdgeNodeError."""
        begun_at = self._world.now()
        told = False
        while True:
            try:
                return step()
            except OSError as err:
                if self._world.now() - begun_at >= WRITE_DEADLINE_S:
                    raise EdgeNodeError(
                        f"what became of the update could not be written down ({err.strerror}): make room, then run "
                        "edge-node-slots settle"
                    ) from None
                if not told:
                    self._tell(f"what became of the update cannot be written down ({err.strerror}): make room")
                    told = True
            self._world.sleep(LOOK_EVERY_S)

    def _outcome(self) -> bool:
        last = self._slots.history()[-1]
        self._tell(f"version {last['version']} {last['outcome']}" + (f": {last['reason']}" if last["reason"] else ""))
        return bool(last["outcome"] == "accepted")

    def _restart(self) -> None:
        try:
            self._world.restart()
        except EdgeNodeError as err:  # the trial goes on: the service manager starts it again
            self._tell(str(err))
