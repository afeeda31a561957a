// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

//  A ZPIPES client as programs on zbroker's zpipes_client are: a CZMQ DEALER
//  socket, one frame a message, one request at a time.
//
//      client ENDPOINT write NAME     standard input to the pipe
//      client ENDPOINT read NAME      the pipe to standard output
//      client ENDPOINT script         conversations; each failure is told
//
//  The exit status is 0, or 1 with a line that says what was unexpected.

#include <czmq.h>

enum {
    INPUT = 1, INPUT_OK, INPUT_FAILED, OUTPUT, OUTPUT_OK, OUTPUT_FAILED,
    READ, READ_OK, READ_END, READ_TIMEOUT, READ_FAILED,
    WRITE, WRITE_OK, WRITE_TIMEOUT, WRITE_FAILED,
    CLOSE, CLOSE_OK, CLOSE_FAILED, PING, PING_OK, INVALID
};

#define BLOCK 65536

static void fail (const char *what, int got)
{
    fprintf (stderr, "%s: got %d\n", what, got);
    exit (1);
}

static byte *put4 (byte *at, uint32_t n)
{
    at [0] = n >> 24;
    at [1] = n >> 16;
    at [2] = n >> 8;
    at [3] = n;
    return at + 4;
}

static uint32_t get4 (const byte *at)
{
    return (uint32_t) at [0] << 24 | (uint32_t) at [1] << 16 | (uint32_t) at [2] << 8 | at [3];
}

static void transmit (zsock_t *dealer, byte *frame, byte *end)
{
    frame [0] = 0xAA;
    frame [1] = 0xA0;
    zframe_t *out = zframe_new (frame, end - frame);
    if (zframe_send (&out, dealer, 0) != 0)
        fail ("send", errno);
}

//  Sends a message that has a string, or nothing.
static void send_text (zsock_t *dealer, int id, const char *text)
{
    byte frame [260], *end = frame + 3;
    frame [2] = id;
    if (text) {
        *end++ = strlen (text);
        memcpy (end, text, strlen (text));
        end += strlen (text);
    }
    transmit (dealer, frame, end);
}

static void send_read (zsock_t *dealer, uint32_t size, uint32_t timeout)
{
    byte frame [11];
    frame [2] = READ;
    transmit (dealer, frame, put4 (put4 (frame + 3, size), timeout));
}

static void send_write (zsock_t *dealer, const void *data, size_t size, uint32_t timeout)
{
    static byte frame [BLOCK + 11];
    frame [2] = WRITE;
    byte *end = put4 (frame + 3, size);
    memcpy (end, data, size);
    transmit (dealer, frame, put4 (end + size, timeout));
}

//  Returns the answer's id, and its chunk if it has one, or a failure's reason.
static int receive (zsock_t *dealer, byte *chunk, size_t *size)
{
    zmsg_t *msg = zmsg_recv (dealer);
    if (!msg)
        fail ("no answer", errno);
    if (zmsg_size (msg) != 1)
        fail ("frames", (int) zmsg_size (msg));
    zframe_t *frame = zmsg_first (msg);
    byte *data = zframe_data (frame);
    size_t length = zframe_size (frame);
    if (length < 3 || data [0] != 0xAA || data [1] != 0xA0)
        fail ("signature", (int) length);
    int id = data [2];
    size_t got = 0;
    if (id == READ_OK) {
        got = get4 (data + 3);
        if (length != got + 7 || got > BLOCK)
            fail ("chunk", (int) length);
        memcpy (chunk, data + 7, got);
    }
    else
    if (id == INPUT_FAILED || id == OUTPUT_FAILED || id == READ_FAILED || id == WRITE_FAILED || id == CLOSE_FAILED) {
        if (length != (size_t) data [3] + 4 || data [3] == 0)
            fail ("reason", (int) length);
    }
    else
    if (length != 3)
        fail ("length", (int) length);
    if (size)
        *size = got;
    zmsg_destroy (&msg);
    return id;
}

static void expect (zsock_t *dealer, int want, const char *what)
{
    byte chunk [BLOCK];
    int got = receive (dealer, chunk, NULL);
    if (got != want)
        fail (what, got);
}

static void expect_data (zsock_t *dealer, const char *want, const char *what)
{
    byte chunk [BLOCK];
    size_t size;
    int got = receive (dealer, chunk, &size);
    if (got != READ_OK || size != strlen (want) || memcmp (chunk, want, size) != 0)
        fail (what, got);
}

static zsock_t *attach (const char *endpoint)
{
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    if (!dealer || zsock_connect (dealer, "%s", endpoint) != 0)
        fail ("connect", errno);
    zsock_set_rcvtimeo (dealer, 30000);
    zsock_set_linger (dealer, 0);
    return dealer;
}

static void open_end (zsock_t *dealer, int id, const char *name)
{
    send_text (dealer, id, name);
    expect (dealer, id + 1, "open");
}

static void close_end (zsock_t *dealer)
{
    send_text (dealer, CLOSE, NULL);
    expect (dealer, CLOSE_OK, "close");
}

static void write_all (const char *endpoint, const char *name)
{
    zsock_t *dealer = attach (endpoint);
    open_end (dealer, OUTPUT, name);
    char data [BLOCK];
    size_t size;
    while ((size = fread (data, 1, sizeof data, stdin)) > 0) {
        send_write (dealer, data, size, 0);
        expect (dealer, WRITE_OK, "write");
    }
    close_end (dealer);
    zsock_destroy (&dealer);
}

static void read_all (const char *endpoint, const char *name)
{
    zsock_t *dealer = attach (endpoint);
    open_end (dealer, INPUT, name);
    for (;;) {
        byte chunk [BLOCK];
        size_t size;
        send_read (dealer, BLOCK, 0);
        int id = receive (dealer, chunk, &size);
        if (id == READ_END)
            break;
        if (id != READ_OK)
            fail ("read", id);
        fwrite (chunk, 1, size, stdout);
    }
    close_end (dealer);
    zsock_destroy (&dealer);
}

static void script (const char *endpoint)
{
    zsock_t *reader = attach (endpoint);
    zsock_t *writer = attach (endpoint);
    zsock_t *third = attach (endpoint);

    //  Before an open
    send_read (reader, 1, 0);
    expect (reader, INVALID, "READ before INPUT");
    send_text (reader, PING, NULL);
    expect (reader, PING_OK, "PING before INPUT");

    //  A READ is pending when the writer opens
    open_end (reader, INPUT, "test pipe 1");
    send_read (reader, 10, 0);
    open_end (writer, OUTPUT, "test pipe 1");
    send_text (third, INPUT, "test pipe 1");
    expect (third, INPUT_FAILED, "second reader");
    send_write (writer, "Hello, World", 12, 0);
    expect (writer, WRITE_OK, "WRITE");
    expect_data (reader, "Hello, Wor", "READ 10");
    send_read (reader, 10, 50);
    expect (reader, READ_TIMEOUT, "READ 10 with 2 there");
    send_read (reader, 2, 0);
    expect_data (reader, "ld", "READ 2");
    send_read (reader, 1, 0);
    send_text (reader, PING, NULL);
    expect (reader, PING_OK, "PING during READ");
    close_end (writer);
    expect (reader, READ_END, "READ at the end");
    send_read (reader, 1, 0);
    expect (reader, READ_END, "READ after the end");
    close_end (reader);

    //  The same sockets, the other way round; the writer is first
    open_end (reader, OUTPUT, "dir/pipe");
    send_write (reader, "dropped", 7, 50);
    expect (reader, WRITE_TIMEOUT, "WRITE without a reader");
    open_end (writer, INPUT, "dir/pipe");
    send_write (reader, "kept", 4, 0);
    expect (reader, WRITE_OK, "WRITE with a reader");
    send_read (reader, 1, 0);
    expect (reader, INVALID, "READ on a writer");
    send_read (writer, 4, 0);
    expect_data (writer, "kept", "READ 4");
    close_end (writer);
    send_write (reader, "x", 1, 0);
    expect (reader, WRITE_FAILED, "WRITE after the reader");
    close_end (reader);

    zsock_destroy (&reader);
    zsock_destroy (&writer);
    zsock_destroy (&third);
}

int main (int argc, char *argv [])
{
    if (argc == 4 && streq (argv [2], "write"))
        write_all (argv [1], argv [3]);
    else
    if (argc == 4 && streq (argv [2], "read"))
        read_all (argv [1], argv [3]);
    else
    if (argc == 3 && streq (argv [2], "script"))
        script (argv [1]);
    else
        fail ("arguments", argc);
    return 0;
}
