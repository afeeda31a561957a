// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package member

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/memberlist"

	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// Tags of a serf member. The names are short since all of them share 512 bytes
// with their values, and part of the protocol.
const (
	tagVersion  = "v"
	tagBoot     = "b" // hexadecimal
	tagEndpoint = "e"
	tagKey      = "k"
)

// tagsMagic precedes the tags, a map in msgpack, in a member's metadata: serf's
// protocol since version 3.
const tagsMagic = 255

func (m Member) tags() map[string]string {
	t := map[string]string{
		tagVersion: strconv.FormatUint(uint64(m.Version), 10),
		tagBoot:    strconv.FormatUint(m.Boot, 16),
	}
	if m.Endpoint != "" {
		t[tagEndpoint] = m.Endpoint
	}
	if m.Key != "" {
		t[tagKey] = m.Key
	}
	return t
}

// checkTags refuses what serf would panic at.
func (m Member) checkTags() error {
	var b bytes.Buffer
	if err := codec.NewEncoder(&b, &codec.MsgpackHandle{}).Encode(m.tags()); err != nil {
		return fmt.Errorf("%w: %w", ErrTags, err)
	}
	if size := 1 + b.Len(); size > memberlist.MetaMaxSize {
		return fmt.Errorf("%w: %d bytes, at most %d: use a shorter endpoint", ErrTags, size, memberlist.MetaMaxSize)
	}
	return nil
}

// memberOf is a serf member's tags as a Member. The error is of something that
// is no broker; a broker of another version may have other tags besides.
func memberOf(node, addr string, tags map[string]string) (Member, error) {
	version, err := strconv.ParseUint(tags[tagVersion], 10, 8)
	if err != nil || version == 0 {
		return Member{}, errors.New("its version is missing")
	}
	boot, err := strconv.ParseUint(tags[tagBoot], 16, 64)
	if err != nil || boot == 0 {
		return Member{}, errors.New("its boot ID is missing")
	}
	return Member{
		ID:       peer.ID{Node: node, Boot: boot},
		Endpoint: tags[tagEndpoint], Key: tags[tagKey], Addr: addr, Version: uint8(version),
	}, nil
}

// decodeTags reads a member's metadata.
func decodeTags(meta []byte) (map[string]string, error) {
	if len(meta) == 0 || meta[0] != tagsMagic {
		return nil, errors.New("it has no tags")
	}
	var tags map[string]string
	if err := codec.NewDecoderBytes(meta[1:], &codec.MsgpackHandle{}).Decode(&tags); err != nil {
		return nil, fmt.Errorf("its tags: %w", err)
	}
	return tags, nil
}
