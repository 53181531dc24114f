package server

import (
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	"github.com/hashicorp/go-metrics"
	metricsprom "github.com/hashicorp/go-metrics/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// adminServer serves metrics and profiles. It has no authentication: config allows it on loopback only.
func adminServer(registry *prometheus.Registry) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
}

// libraries is the one sink of hashicorp/raft, raft-boltdb and memberlist, which know no other than go-metrics' global.
var libraries = sync.OnceValues(func() (*metricsprom.PrometheusSink, error) {
	// A registry of its own: NewPrometheusSinkFrom registers the sink, and every node's registry wants it too.
	sink, err := metricsprom.NewPrometheusSinkFrom(metricsprom.PrometheusOpts{Registerer: prometheus.NewRegistry(), Expiration: 0})
	if err != nil {
		return nil, err
	}
	cfg := metrics.DefaultConfig("kavach")
	cfg.EnableHostname = false
	cfg.EnableRuntimeMetrics = false // client_golang's collectors do it
	if _, err := metrics.NewGlobal(cfg, sink); err != nil {
		return nil, err
	}
	return sink, nil
})

// newMetrics makes a node's registry: the process, the Go runtime, the libraries. It must be called before Raft starts.
func newMetrics() (*prometheus.Registry, error) {
	sink, err := libraries()
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector(), sink,
	} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return registry, nil
}
