// What a Go program gets out of franz-go: the works of ../c_loop.c, and the same line of figures.
//
//	go_loop ADDRESSES TOPIC count|table|latest [tuned]
//
// table and latest keep the latest value of each key in a map. As it comes: the client's defaults, and
// the records' own slices kept. tuned: larger fetches, ahead of the reader, no checksums (librdkafka
// checks none either), the client's memory used again, values copied into slices that stay, and a
// collector that runs more rarely.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func die(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "go_loop:", err)
		os.Exit(1)
	}
}

// recordPool lends a batch's records out again; see kgo.WithPools.
type recordPool struct{ records sync.Pool }

func (pool *recordPool) GetRecords(count int) []kgo.Record {
	if records, ok := pool.records.Get().(*[]kgo.Record); ok && cap(*records) >= count {
		return (*records)[:0]
	}
	return make([]kgo.Record, 0, count)
}

func (pool *recordPool) PutRecords(records []kgo.Record) { pool.records.Put(&records) }

var tuning = []kgo.Opt{
	kgo.FetchMaxBytes(64 << 20),
	kgo.FetchMaxPartitionBytes(4 << 20),
	kgo.DisableFetchSessions(),
	kgo.DisableFetchCRCValidation(),
	kgo.WithPools(&recordPool{}),
}

// offsets asks for the partitions' first offsets (-2) or their ends (-1).
func offsets(client *kgo.Client, topic string, partitions int, at int64) map[int32]int64 {
	request := kmsg.NewPtrListOffsetsRequest()
	of := kmsg.NewListOffsetsRequestTopic()
	of.Topic = topic
	for i := 0; i < partitions; i++ {
		partition := kmsg.NewListOffsetsRequestTopicPartition()
		partition.Partition, partition.Timestamp = int32(i), at
		of.Partitions = append(of.Partitions, partition)
	}
	request.Topics = append(request.Topics, of)
	response, err := request.RequestWith(context.Background(), client)
	die(err)
	found := make(map[int32]int64)
	for _, partition := range response.Topics[0].Partitions {
		if partition.ErrorCode != 0 {
			die(fmt.Errorf("no offset of partition %d: error %d", partition.Partition, partition.ErrorCode))
		}
		found[partition.Partition] = partition.Offset
	}
	return found
}

func countPartitions(client *kgo.Client, topic string) int {
	request := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, of)
	response, err := request.RequestWith(context.Background(), client)
	die(err)
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) == 0 {
		die(errors.New("no such topic: " + topic))
	}
	return len(response.Topics[0].Partitions)
}

type table struct {
	values map[string][]byte
	copies bool
}

func (table *table) keep(record *kgo.Record) {
	if !table.copies {
		table.values[string(record.Key)] = record.Value
		return
	}
	// The lookup does not make a string of the key, the first insertion does.
	if value, ok := table.values[string(record.Key)]; ok && cap(value) >= len(record.Value) {
		if len(value) == len(record.Value) {
			copy(value, record.Value)
			return
		}
		table.values[string(record.Key)] = append(value[:0], record.Value...)
		return
	}
	table.values[string(record.Key)] = append([]byte(nil), record.Value...)
}

func cpuSeconds() float64 {
	var usage syscall.Rusage
	die(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Sec+usage.Stime.Sec) + float64(usage.Utime.Usec+usage.Stime.Usec)/1e6
}

func peakKB() (peak int) {
	status, err := os.ReadFile("/proc/self/status")
	die(err)
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmHWM:") {
			_, err = fmt.Sscanf(line, "VmHWM: %d", &peak)
			die(err)
		}
	}
	return peak
}

func main() {
	began := time.Now()
	arguments := os.Args[1:]
	tuned := len(arguments) == 4 && arguments[3] == "tuned"
	if len(arguments) != 3 && !tuned {
		die(errors.New("usage: go_loop ADDRESSES TOPIC count|table|latest [tuned]"))
	}
	topic, fillsTable := arguments[1], arguments[2] != "count"

	options := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(arguments[0], ",")...),
		kgo.ConsumeTopics(topic),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}
	if tuned {
		debug.SetGCPercent(400)
		options = append(options, tuning...)
	}
	client, err := kgo.NewClient(options...)
	die(err)
	partitions := countPartitions(client, topic)
	low, ends := offsets(client, topic, partitions, -2), offsets(client, topic, partitions, -1)
	for partition, end := range ends {
		if low[partition] >= end {
			delete(ends, partition)
		}
	}

	var messages, bytes int64
	kept := table{values: make(map[string][]byte), copies: tuned}
	for len(ends) > 0 {
		fetches := client.PollFetches(context.Background())
		for _, failure := range fetches.Errors() {
			die(failure.Err)
		}
		fetches.EachPartition(func(of kgo.FetchTopicPartition) {
			end, pending := ends[of.Partition]
			for _, record := range of.Records {
				messages++
				bytes += int64(len(record.Value))
				if fillsTable {
					kept.keep(record)
				}
				if pending && record.Offset+1 >= end {
					delete(ends, of.Partition)
				}
				if tuned {
					record.Recycle()
				}
			}
		})
	}
	result := bytes
	if fillsTable {
		result = int64(len(kept.values))
	}
	fmt.Printf("messages=%d seconds=%.6f cpu=%.6f kb=%d result=%d\n", messages,
		time.Since(began).Seconds(), cpuSeconds(), peakKB(), result)
	client.Close()
}
