// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// Limits of a connection: whoever stalls loses it.
const (
	readLimit  = 10 * time.Second
	writeLimit = 30 * time.Second
	idleLimit  = 10 * time.Second
	closeLimit = 5 * time.Second // for requests under way when the server closes
	maxBody    = 1 << 20         // bytes of a request
)

// Server has a broker's name, and answers on its control socket once Serve was
// called.
type Server struct {
	name     string
	listener *listener
	routes   *http.ServeMux

	http    *http.Server   // nil before Serve
	serving sync.WaitGroup // http's Serve, and requests under way

	mu     sync.Mutex // guards below
	closed bool       // no more requests: serving is being waited for
}

// Listen takes a broker's name. Callers wait until Serve. The caller closes the
// Server, which frees the name.
//
// Errors: ErrBrokerName, ErrNameTaken.
func Listen(name string) (*Server, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", address(name))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, taken(name)
	}
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return &Server{name: name, listener: newListener(l), routes: http.NewServeMux()}, nil
}

// taken says who has the name.
func taken(name string) error {
	c, err := net.DialUnix("unix", nil, address(name))
	if err != nil {
		return fmt.Errorf("%s: %w", name, ErrNameTaken)
	}
	defer c.Close()
	peer, err := peerOf(c)
	if err != nil {
		return fmt.Errorf("%s: %w", name, ErrNameTaken)
	}
	return fmt.Errorf("%s: %w as process %d", name, ErrNameTaken, peer.PID)
}

// Options say who may use a control socket.
type Options struct {
	AllowOther bool         // admit users other than root and the broker's own
	Log        *slog.Logger // nil: none
}

// Serve starts to answer. All operations have been handled before (see Handle).
func (s *Server) Serve(o Options) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s.listener.others = o.AllowOther
	s.http = &http.Server{
		Handler:           s.admit(o.AllowOther, s.routes),
		ReadHeaderTimeout: readLimit,
		ReadTimeout:       readLimit,
		WriteTimeout:      writeLimit,
		IdleTimeout:       idleLimit,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, peerKey{}, c.(*connection).peer)
		},
	}
	s.serving.Go(func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			o.Log.Error("control socket ended", "error", err)
		}
	})
}

// Close frees the name and waits for requests under way.
func (s *Server) Close() error {
	if s.http == nil {
		return s.listener.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.serving.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// enter counts a request that is under way until serving.Done.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.serving.Add(1)
	}
	return !s.closed
}

type peerKey struct{}

// admit refuses everybody but root and this process's user, unless others are
// allowed, as the mount does.
func (s *Server) admit(others bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			answer(w, nil, ErrLost)
			return
		}
		defer s.serving.Done()
		peer := r.Context().Value(peerKey{}).(Peer)
		if !others && !owns(peer.UID) {
			w.Header().Set("Connection", "close")
			answer(w, nil, fmt.Errorf("%w: broker %s serves user %d and root only", fs.ErrPermission, s.name, os.Geteuid()))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// Handle makes the server answer an operation with f. What f returns, result or
// error, is what Call returns on the other side.
func Handle[Request, Response any](s *Server, operation string, f func(context.Context, Peer, Request) (Response, error)) {
	s.routes.HandleFunc("/"+operation, func(w http.ResponseWriter, r *http.Request) {
		var request Request
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil && !errors.Is(err, io.EOF) {
			answer(w, nil, fmt.Errorf("%w: %w", ErrRequest, err))
			return
		}
		response, err := f(r.Context(), r.Context().Value(peerKey{}).(Peer), request)
		answer(w, response, err)
	})
}

// answer sends a result or an error. Nobody is left to tell when that fails.
func answer(w http.ResponseWriter, result any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		status := http.StatusUnprocessableEntity
		if errors.Is(err, fs.ErrPermission) {
			status = http.StatusForbidden
		}
		w.WriteHeader(status)
		result = toWire(err)
	}
	json.NewEncoder(w).Encode(result)
}
