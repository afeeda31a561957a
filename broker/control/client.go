// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"
)

// callLimit ends a call whose context sets no limit of its own.
const callLimit = 30 * time.Second

// Client speaks to the broker of a name. Its methods may be called from anywhere.
type Client struct {
	name string
	http *http.Client
}

// NewClient returns a client; nothing is sent before the first call.
// Error: ErrBrokerName.
func NewClient(name string) (*Client, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", address(name).Name)
	}
	return &Client{name, &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}, nil
}

// Create makes a pipe.
//
// Errors of all methods: ErrNoBroker, ErrLost, fs.ErrPermission, the context's.
// Errors of Create: fs.ErrExist, fs.ErrNotExist if a directory is missing,
// broker.ErrName, broker.ErrTooLong, broker.ErrNotDir, pipe.ErrMode.
func (c *Client) Create(ctx context.Context, r CreateRequest) error {
	_, err := Call[struct{}](ctx, c, "create", r)
	return err
}

// Remove removes a name; open ends of a pipe go on. Errors: fs.ErrNotExist,
// broker.ErrIsDir, broker.ErrNotEmpty, broker.ErrName.
func (c *Client) Remove(ctx context.Context, r RemoveRequest) error {
	_, err := Call[struct{}](ctx, c, "remove", r)
	return err
}

// List returns the pipes that the caller can see, by path.
func (c *Client) List(ctx context.Context, r ListRequest) ([]Pipe, error) {
	return Call[[]Pipe](ctx, c, "list", r)
}

// Info returns what the broker tells of itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	return Call[Info](ctx, c, "info", nil)
}

// Call asks the broker for an operation (see Handle). A request of nil is the
// zero value.
func Call[Response any](ctx context.Context, c *Client, operation string, request any) (response Response, err error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	var body bytes.Buffer
	if request != nil {
		if err := json.NewEncoder(&body).Encode(request); err != nil {
			return response, fmt.Errorf("%s: %w", operation, err)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://zpipes/"+operation, &body)
	if err != nil {
		return response, fmt.Errorf("%s: %w", operation, err)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return response, c.failure(ctx, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return response, c.refusal(answer)
	}
	if err := json.NewDecoder(answer.Body).Decode(&response); err != nil {
		return response, c.failure(ctx, err)
	}
	return response, nil
}

// failure is an error of the connection.
func (c *Client) failure(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("broker %s: %w", c.name, context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("broker %s: %w", c.name, ErrNoBroker)
	}
	return fmt.Errorf("broker %s: %w: %w", c.name, ErrLost, err)
}

// refusal is an error that the broker has answered.
func (c *Client) refusal(answer *http.Response) error {
	var e wireError
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(&e); err != nil {
		return fmt.Errorf("broker %s: %w: it answers %s", c.name, ErrRequest, answer.Status)
	}
	return &e
}
