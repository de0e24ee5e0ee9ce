// Keeps a table of all live streams, as a router does, and prints every change.
//
//	export STREAMREG_URL=http://127.0.0.1:8580 STREAMREG_TOKEN=...
//	go run follower.go
//
// Needs Go 1.18 or later, and only its standard library. docs/semantics.md#feed describes events.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/rand"
	"net/http"
	"os"
	"strconv"
	"time"
)

// The server sends an event about every 10 s, so a connection that is silent for longer is dead.
const silence = 25 * time.Second

type stream struct {
	ID         string `json:"id"`
	SourceAddr string `json:"source_addr"` // empty if the last record of an ended stream is unknown
}

var (
	streams  map[string]stream
	position string // of the table in the events; empty if the table must be read
)

// get sends a request. When the context ends, the response ends too.
func get(ctx context.Context, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", os.Getenv("STREAMREG_URL")+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("STREAMREG_TOKEN"))
	request.Header.Set("Last-Event-ID", position)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode == http.StatusOK {
		return response, err
	}
	response.Body.Close()
	if response.StatusCode < 500 { // e.g. a wrong token
		log.Fatalf("failed: %s", response.Status)
	}
	seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
	time.Sleep(time.Duration(seconds) * time.Second)
	return nil, errors.New(response.Status)
}

func show(what string, s stream) {
	fmt.Printf("%s %s %s: %d live\n", what, s.ID, s.SourceAddr, len(streams))
}

// list reads all live streams, and the position of this list in the events.
func list(ctx context.Context) error {
	response, err := get(ctx, "/api/v1/snapshot")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var snapshot struct {
		Revision string
		Streams  []stream
	}
	if err := json.NewDecoder(response.Body).Decode(&snapshot); err != nil {
		return err
	}
	streams, position = map[string]stream{}, snapshot.Revision
	for _, s := range snapshot.Streams {
		streams[s.ID] = s
		show("live", s)
	}
	return nil
}

// apply applies an event to the table.
func apply(data []byte) error {
	var event struct {
		Event, Revision string
		Stream          stream
	}
	if err := json.Unmarshal(data, &event); err != nil {
		return err
	}
	position = event.Revision
	switch event.Event {
	case "alive": // nothing has changed
		return nil
	case "resync": // events are missing, e.g. because the store was restarted
		position = ""
		return errors.New("resync")
	case "unregistered", "expired":
		delete(streams, event.Stream.ID)
	default:
		streams[event.Stream.ID] = event.Stream
	}
	show(event.Event, event.Stream)
	return nil
}

// follow reads the list if necessary, and applies the events after it until the connection ends.
func follow() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.AfterFunc(silence, cancel)
	if position == "" {
		if err := list(ctx); err != nil {
			return err
		}
	}
	response, err := get(ctx, "/api/v1/events")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20) // a record has at most 64 KiB
	for lines.Scan() {
		timer.Reset(silence)
		if data := bytes.TrimPrefix(lines.Bytes(), []byte("data: ")); len(data) < len(lines.Bytes()) {
			if err := apply(data); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func main() {
	for {
		log.Printf("disconnected: %v", follow())
		pause := 500 + rand.Intn(1000) // so that not all followers return at the same moment
		time.Sleep(time.Duration(pause) * time.Millisecond)
	}
}
