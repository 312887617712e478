"""The side of Python's confluent-kafka: the works count and table of c_loop.c, the same line of figures.

    python py_loop.py ADDRESSES TOPIC count|table

consume() of 1000 at a time, which costs half of poll(), and the settings of c_loop.c.
"""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition


def peak_kb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main(addresses, topic, work):
    began = time.monotonic()
    consumer = Consumer({
        "bootstrap.servers": addresses,
        "group.id": "py-loop",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.metrics.push": False,
        "fetch.wait.max.ms": 100,
        "fetch.message.max.bytes": 524288,
        "fetch.max.bytes": 8388608,
        "queued.min.messages": 10000,
        "queued.max.messages.kbytes": 8192,
        "fetch.queue.backoff.ms": 10,
    })
    ends = {}
    places = [TopicPartition(topic, partition, OFFSET_BEGINNING)
              for partition in consumer.list_topics(topic).topics[topic].partitions]
    for place in places:
        low, high = consumer.get_watermark_offsets(place)
        if low < high:
            ends[place.partition] = high
    consumer.assign(places)
    messages = size = 0
    keys = {}
    while ends:
        for message in consumer.consume(1000, 0.1):
            if message.error():
                continue
            messages += 1
            if work == "table":
                keys[message.key()] = message.value()
            else:
                size += len(message.value())
            if ends.get(message.partition()) == message.offset() + 1:
                del ends[message.partition()]
    print("messages=%d seconds=%.6f cpu=%.6f kb=%d result=%d" % (
        messages, time.monotonic() - began, time.process_time(), peak_kb(),
        len(keys) if work == "table" else size))
    consumer.close()


main(*sys.argv[1:])
