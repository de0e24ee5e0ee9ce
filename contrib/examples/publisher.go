// Registers a stream, keeps it alive, and unregisters it at SIGTERM or Ctrl-C.
//
//	export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
//	go run publisher.go cam1 203.0.113.7:40112
//
// Needs Go 1.18 or later, and only its standard library. docs/http.md describes the API.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

type object = map[string]any

type registered struct {
	Stream object
	Epoch  string
	TTL    float64 `json:"ttl_ms"`
}

// problem describes a request that was rejected (RFC 9457) or not answered.
type problem struct {
	Code, Detail string // a code such as "not_found" is stable, unlike the detail
	Retryable    bool
	retryAfter   time.Duration
}

var client, started = http.Client{Timeout: 5 * time.Second}, time.Now()

// call sends a request, and decodes the JSON of a successful response into result.
func call(method, path, epoch string, body object, result any) *problem {
	encoded, _ := json.Marshal(body) // strings and finite numbers are always valid
	request, err := http.NewRequest(method, os.Getenv("STREAMREG_URL")+path, bytes.NewReader(encoded))
	if err != nil {
		log.Fatal(err)
	}
	token := "Bearer " + os.Getenv("STREAMREG_TOKEN")
	request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {token}}
	if epoch != "" {
		request.Header.Set("Stream-Epoch", epoch)
	}
	response, err := client.Do(request)
	if err != nil { // e.g. the server restarts
		return &problem{Detail: err.Error(), Retryable: true, retryAfter: time.Second}
	}
	defer response.Body.Close()
	if response.StatusCode < 400 && (result == nil || json.NewDecoder(response.Body).Decode(result) == nil) {
		return nil
	}
	// If the body is not JSON, e.g. because a proxy sent it, these values stay.
	p := &problem{Detail: response.Status, retryAfter: time.Second}
	p.Retryable = response.StatusCode >= 500
	json.NewDecoder(response.Body).Decode(p)
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil {
		p.retryAfter = time.Duration(seconds) * time.Second
	}
	return p
}

// register registers the stream with a lease. If the server is down, it waits for it.
func register(stream object) (result registered) {
	for {
		p := call("POST", "/api/v1/streams?lease=true", "", stream, &result)
		if p == nil {
			return result
		} else if !p.Retryable { // e.g. another publisher has the id
			log.Fatalf("failed: %s", p.Detail)
		}
		log.Printf("cannot register yet: %s", p.Detail)
		time.Sleep(p.retryAfter)
	}
}

// measure returns the statistics since the start. Replace this by the counters of your ingest code.
func measure() object {
	seconds := time.Since(started).Seconds()
	return object{"bytes_received": int(seconds * 625_000), "packets_received": int(seconds * 475),
		"packets_lost": 0, "bitrate": 5_000_000}
}

// report reports statistics, which count as a heartbeat.
func report(id string, lease registered) *problem {
	stats, path := measure(), "/api/v1/stream/stats?"+url.Values{"id": {id}}.Encode()
	p := call("PUT", path, lease.Epoch, stats, nil)
	if p == nil || p.Code != "not_found" {
		return p
	}
	// The stream has expired, or the store has lost it. Register it again with the same epoch. This
	// fails if the stream was unregistered or taken over, so it never disturbs others.
	for name, value := range stats {
		lease.Stream[name] = value
	}
	log.Print("registering again")
	return call("POST", "/api/v1/streams?recover=true", lease.Epoch, lease.Stream, nil)
}

func main() {
	id, source := os.Args[1], os.Args[2]
	record := object{"id": id, "type": "srt", "source_addr": source, "status": "active"}
	record["node"], _ = os.Hostname()
	lease := register(record)
	log.Printf("registered %s", id)
	stopped, _ := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	interval := time.Duration(math.Min(lease.TTL/5, 10_000)) * time.Millisecond
	for pause := interval; ; {
		select {
		case <-stopped.Done():
			query := url.Values{"id": {id}, "reason": {"publisher stopped"}}
			call("DELETE", "/api/v1/stream?"+query.Encode(), lease.Epoch, nil, nil)
			return
		case <-time.After(pause):
		}
		pause = interval
		if p := report(id, lease); p != nil {
			if p.Code == "not_found" || p.Code == "not_holder" {
				log.Fatalf("lost %s: %s", id, p.Detail) // stop ingesting
			}
			// Go on ingesting: the next report after an outage makes up for the missing ones.
			log.Printf("cannot report: %s", p.Detail)
			pause = p.retryAfter
		}
	}
}
