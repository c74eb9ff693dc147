"""The bounded channel: order, bounds, both ends' ways of leaving, threads and loops."""

from __future__ import annotations

import asyncio
import threading

import pytest

from stream.channel import Channel, ChannelClosed, Policy


def drain(channel: Channel[int]) -> list[int]:
    items = []
    try:
        while True:
            items.append(channel.get())
    except ChannelClosed:
        return items


def test_items_arrive_in_order_and_the_end_gets_through_a_full_channel() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.put(2)
    channel.close()
    assert drain(channel) == [1, 2]


def test_wait_never_holds_more_than_its_capacity_and_loses_nothing() -> None:
    channel: Channel[int] = Channel(3)

    def send() -> None:
        for number in range(500):
            channel.put(number)
        channel.close()

    sender = threading.Thread(target=send)
    sender.start()
    assert drain(channel) == list(range(500))
    sender.join()
    statistics = channel.statistics()
    assert statistics.peak <= 3
    assert (statistics.sent, statistics.received, statistics.dropped) == (500, 500, 0)


def test_a_narrowed_channel_keeps_what_waits_and_takes_no_more_than_it_should() -> None:
    channel: Channel[int] = Channel(3, Policy.DROP_OLDEST)
    for number in range(3):
        channel.put(number)
    channel.narrow(1)
    assert [channel.get(), channel.get(), channel.get()] == [0, 1, 2]
    channel.put(3)
    channel.put(4)
    channel.close()
    assert drain(channel) == [4]


def test_drop_oldest_keeps_the_newest_and_counts_the_rest() -> None:
    channel: Channel[int] = Channel(2, Policy.DROP_OLDEST)
    for number in range(10):
        channel.put(number)
    channel.close()
    assert drain(channel) == [8, 9]
    assert channel.statistics().dropped == 8


def test_the_senders_error_comes_after_the_last_item() -> None:
    channel: Channel[int] = Channel(2)
    channel.put(1)
    channel.close(ValueError("broken"))
    assert channel.get() == 1
    with pytest.raises(ValueError, match="broken"):
        channel.get()


def test_a_receiver_that_leaves_frees_a_waiting_sender() -> None:
    channel: Channel[int] = Channel(1)
    channel.put(1)
    refused = threading.Event()

    def send() -> None:
        try:
            channel.put(2)
        except ChannelClosed:
            refused.set()

    sender = threading.Thread(target=send)
    sender.start()
    channel.cancel()
    sender.join(60)
    assert refused.is_set()
    assert channel.statistics().discarded == 1


def test_a_thread_feeds_a_coroutine_and_a_coroutine_feeds_a_thread() -> None:
    down: Channel[int] = Channel(2)
    up: Channel[int] = Channel(2)

    def echo() -> None:
        for number in drain(down):
            up.put(number)
        up.close()

    async def exchange() -> list[int]:
        async def send() -> None:
            for number in range(200):
                await down.aput(number)
            down.close()

        sending = asyncio.create_task(send())
        got = []
        try:
            while True:
                got.append(await up.aget())
        except ChannelClosed:
            await sending
            return got

    # drain() holds all it got before it echoes, so "down" must be emptied by the thread while the loop sends.
    thread = threading.Thread(target=echo)
    thread.start()
    assert asyncio.run(exchange()) == list(range(200))
    thread.join()


def test_a_cancelled_coroutine_leaves_nothing_behind() -> None:
    async def scenario() -> int:
        channel: Channel[int] = Channel(1)
        waiting = asyncio.create_task(channel.aget())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        channel.put(7)
        return await channel.aget()

    assert asyncio.run(scenario()) == 7


def test_a_channel_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Channel(0)
