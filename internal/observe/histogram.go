package observe

import "github.com/skeindb/skein/internal/engine"

// histogram is how long calls of a command took, in buckets of powers of two.
type histogram struct {
	calls  int64
	counts [32]int64
}

func histogramOf(p *engine.CommandStats) (h histogram) {
	for i := range p.Hist {
		h.counts[i] = p.Hist[i].Load()
		h.calls += h.counts[i]
	}
	return h
}

// bucketNanos is the upper end of a bucket, as the histograms of redis-server
// name it: 1024 ns times a power of two, at a resolution of 1/128.
func bucketNanos(i int) int64 { return 1024<<i + 8<<i - 1 }

// bucketMicros is bucketNanos for LATENCY HISTOGRAM.
func bucketMicros(i int) int64 { return bucketNanos(i) / 1000 }

// percentile returns a time in nanoseconds that p percent of the calls did not
// exceed.
func (h *histogram) percentile(p float64) int64 {
	want := max(int64(p/100*float64(h.calls)+0.5), 1)
	sum := int64(0)
	for i, n := range h.counts {
		if sum += n; sum >= want {
			return bucketNanos(i)
		}
	}
	return bucketNanos(len(h.counts) - 1)
}
