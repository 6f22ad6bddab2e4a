"""A device that is a number: `clock` is its time in milliseconds, and work ends when the test says so."""
capturing = False
clock = 100.0
asked_while_capturing = 0


class Event:
    def __init__(self, enable_timing=False):
        self.at = None
        self.happened = True

    def record(self, stream=None):
        global clock
        clock += 1.5
        self.at = clock

    def query(self):
        global asked_while_capturing
        if capturing:
            asked_while_capturing += 1
        return self.happened

    def elapsed_time(self, other):
        return other.at - self.at

    def synchronize(self):
        raise AssertionError("nothing may be waited for")


def current_stream(device=None):
    return None


def is_current_stream_capturing():
    return capturing


def is_initialized():
    return False
