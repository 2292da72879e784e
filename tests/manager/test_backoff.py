from uvicorn.manager.backoff import JITTER, LONGEST_DELAY, Backoff


def test_the_first_failure_of_a_slot_is_replaced_at_once():
    backoff = Backoff()
    assert backoff.failed(1, 100.0, slots=3) == 100.0
    assert backoff.failed(2, 100.0, slots=3) == 100.0


def test_delays_double_up_to_the_longest():
    backoff = Backoff()
    delays = [backoff.failed(1, 0.0, slots=99) for _ in range(12)]
    assert delays[:6] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert delays[-1] == LONGEST_DELAY
    for _ in range(5000):
        assert backoff.failed(1, 0.0, slots=99) <= LONGEST_DELAY


def test_jitter_spreads_a_delay_by_a_quarter():
    def third(jitter: float) -> float:
        backoff = Backoff()
        for _ in range(2):
            backoff.failed(1, 0.0, slots=9, jitter=jitter)
        return backoff.failed(1, 0.0, slots=9, jitter=jitter)

    assert third(0.0) == 0.2 * (1 - JITTER)
    assert abs(third(1.0) - 0.2 * (1 + JITTER)) < 1e-9


def test_a_worker_that_settled_clears_its_slot():
    backoff = Backoff()
    for _ in range(5):
        backoff.failed(1, 0.0, slots=3)
    backoff.settled(1)
    assert backoff.failures(1) == 0
    assert backoff.failed(1, 5.0, slots=3) == 5.0


def test_forgetting_clears_all_slots():
    backoff = Backoff()
    for slot in (1, 2, 3) * 4:
        backoff.failed(slot, 0.0, slots=3)
    backoff.forget()
    assert backoff.failed(2, 1.0, slots=3) == 1.0


def test_three_workers_that_die_0_2_s_after_ready_start_at_most_12_times_in_8_s():
    for jitter in (0.0, 0.5, 1.0):
        backoff, starts = Backoff(), 0
        deaths = [(0.2, slot) for slot in (1, 2, 3)]
        while deaths:
            deaths.sort()
            now, slot = deaths.pop(0)
            again = backoff.failed(slot, now, slots=3, jitter=jitter)
            if again < 8.0:
                starts += 1
                deaths.append((again + 0.22, slot))
        assert 3 <= starts <= 12, jitter
