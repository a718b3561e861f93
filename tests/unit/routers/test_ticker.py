import re
import threading

from routers.commands._ticker import Ticker


def test_a_long_step_shows_that_it_goes_on_and_a_stopped_one_is_silent():
    said, twice = [], threading.Event()

    def say(line):
        said.append(line)
        if len(said) == 2:
            twice.set()

    ticker = Ticker("embedding 9 queries", say=say, every_s=0.001)
    assert twice.wait(30)
    ticker.stop()
    assert re.fullmatch(r"  still embedding 9 queries \(\d+ s\)", said[0])
    assert not any(thread.name == "ticker" for thread in threading.enumerate())
