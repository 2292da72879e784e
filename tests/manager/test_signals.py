import os
import select
import signal

from uvicorn.manager.signals import COMMANDS, FOR_THE_MASTER, Inbox


def test_every_signal_of_the_table_is_explained():
    for number, meaning in COMMANDS.items():
        assert isinstance(number, signal.Signals)
        assert meaning.doc.endswith(".")


def test_signals_come_as_something_to_read_and_handlers_are_restored():
    before = signal.getsignal(signal.SIGUSR1)
    inbox = Inbox()
    with inbox.listening((signal.SIGUSR1, signal.SIGUSR2)):
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGUSR2)
        assert select.select([inbox], [], [], 60)[0]
        assert inbox.read() == [signal.SIGUSR1, signal.SIGUSR2]
        assert inbox.read() == []
    assert signal.getsignal(signal.SIGUSR1) is before
    assert signal.set_wakeup_fd(-1) == -1
    inbox.close()


def test_what_is_for_the_master_is_not_a_stop():
    assert not {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT} & set(FOR_THE_MASTER)
    assert signal.SIGHUP in FOR_THE_MASTER
