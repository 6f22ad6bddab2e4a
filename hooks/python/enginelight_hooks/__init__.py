"""Tells an enginelight daemon what this process does: collectives, engine steps, pipeline stages, KV transfers.

It observes and never alters: it wraps functions when the engine itself imports their modules, imports none of them, and
whatever goes wrong in here stays in here. `activate()` is called by the .pth file when ENGINELIGHT_HOOKS=1, by vLLM's
plugin entry point, or by hand; calling it twice is harmless.
"""

__version__ = "0.1.0"

_active = False


def activate():
    """Wraps what is imported already, and everything else when it is imported. Never raises."""
    global _active
    if _active:
        return
    try:
        import os

        # vLLM calls the entry point whenever the package is installed; only the variable switches it on.
        if os.environ.get("ENGINELIGHT_HOOKS", "0") in ("", "0"):
            return
        _active = True
        from . import core, importer

        core.begin()
        importer.install()
    except BaseException as error:  # noqa: BLE001 - the engine must start whatever happens here
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        _say(error)


def _say(error):
    try:
        import os
        import sys

        if os.environ.get("ENGINELIGHT_HOOKS_DEBUG"):
            import traceback

            traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
    except Exception:
        pass
