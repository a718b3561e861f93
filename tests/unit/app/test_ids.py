import multiprocessing
import re

from app.ids import new_id


def test_ids_differ_and_are_all_of_one_form():
    ids = {new_id("req-") for _ in range(10_000)}
    assert len(ids) == 10_000
    assert all(re.fullmatch(r"req-[0-9a-f]{24}", each) for each in ids)


def _draw(queue):
    queue.put(new_id(""))


def test_a_forked_process_draws_other_ids():
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_draw, args=(queue,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    drawn = {queue.get(timeout=60) for _ in workers}
    for worker in workers:
        worker.join()
    assert len(drawn | {new_id("")}) == 4
