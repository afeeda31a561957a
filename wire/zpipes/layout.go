// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zpipes

// Lengths of the parts of a frame that surround a chunk, in octets.
const (
	// ChunkHeadLen is that of the signature, the id and the chunk's length.
	ChunkHeadLen = headLen + 4
	// TimeoutLen is that of the timeout behind the chunk of a Write.
	TimeoutLen = 4
)

const (
	signature  = 0xAAA0
	headLen    = 3 // signature and id
	signature0 = signature >> 8
	signature1 = signature & 0xFF
)

// The parts of a frame, as an error names them.
const (
	fieldSignature = "signature"
	fieldID        = "id"
	fieldName      = "pipename"
	fieldReason    = "reason"
	fieldSize      = "size"
	fieldTimeout   = "timeout"
	fieldChunk     = "chunk"
	fieldEnd       = "end"
)

// layouts is the grammar: by id, a message's name and what follows its head, in
// the order of the wire. It is never written to.
var layouts = [...]struct {
	name   string
	fields []string
}{
	Input:        {"INPUT", []string{fieldName}},
	InputOK:      {"INPUT-OK", nil},
	InputFailed:  {"INPUT-FAILED", []string{fieldReason}},
	Output:       {"OUTPUT", []string{fieldName}},
	OutputOK:     {"OUTPUT-OK", nil},
	OutputFailed: {"OUTPUT-FAILED", []string{fieldReason}},
	Read:         {"READ", []string{fieldSize, fieldTimeout}},
	ReadOK:       {"READ-OK", []string{fieldChunk}},
	ReadEnd:      {"READ-END", nil},
	ReadTimeout:  {"READ-TIMEOUT", nil},
	ReadFailed:   {"READ-FAILED", []string{fieldReason}},
	Write:        {"WRITE", []string{fieldChunk, fieldTimeout}},
	WriteOK:      {"WRITE-OK", nil},
	WriteTimeout: {"WRITE-TIMEOUT", nil},
	WriteFailed:  {"WRITE-FAILED", []string{fieldReason}},
	Close:        {"CLOSE", nil},
	CloseOK:      {"CLOSE-OK", nil},
	CloseFailed:  {"CLOSE-FAILED", []string{fieldReason}},
	Ping:         {"PING", nil},
	PingOK:       {"PING-OK", nil},
	Invalid:      {"INVALID", nil},
}
