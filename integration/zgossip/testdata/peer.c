// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

// peer runs parts of CZMQ for tests:
//
//	peer gossip          a zgossip actor. A line of standard input is a command to it,
//	                     its parts separated by tabs; a line of standard output is a
//	                     message from it, likewise. It ends with standard input.
//	peer config IN OUT   loads a configuration file with zconfig, prints each item as
//	                     depth, name, value, separated by tabs, and saves it.
//	peer cert IN OUT     loads a certificate with zcert, prints its public and its secret
//	                     key, and saves it.
//	peer curve ENDPOINT SERVERKEY
//	                     connects a DEALER with a fresh key pair, says HELLO, publishes
//	                     told = SERVERKEY and prints each frame that comes within a
//	                     second, in hexadecimal.

#include <czmq.h>

static void
print_message (zmsg_t *msg)
{
    char *part = zmsg_popstr (msg);
    while (part) {
        fputs (part, stdout);
        zstr_free (&part);
        part = zmsg_popstr (msg);
        if (part)
            putchar ('\t');
    }
    putchar ('\n');
    fflush (stdout);
}

static int
send_command (zactor_t *gossip, char *line)
{
    zmsg_t *msg = zmsg_new ();
    char *part;
    line [strcspn (line, "\n")] = 0;
    while ((part = strsep (&line, "\t")))
        zmsg_addstr (msg, part);
    return zactor_send (gossip, &msg);
}

// Standard input is read here unbuffered, so that a poll does not miss a line
// that stdio holds.
static int
gossip (void)
{
    zactor_t *actor = zactor_new (zgossip, "peer");
    assert (actor);
    zstr_sendx (actor, "SET", "server/background", "1", NULL);
    int input = STDIN_FILENO;
    zpoller_t *poller = zpoller_new (actor, &input, NULL);
    char line [65536];
    size_t have = 0;
    while (true) {
        void *ready = zpoller_wait (poller, -1);
        if (ready == actor) {
            zmsg_t *msg = zactor_recv (actor);
            if (!msg)
                break;
            print_message (msg);
            zmsg_destroy (&msg);
        }
        else
        if (ready == &input) {
            ssize_t size = read (input, line + have, sizeof line - have);
            if (size <= 0)
                break;
            have += (size_t) size;
            char *end;
            while ((end = memchr (line, '\n', have))) {
                size_t length = (size_t) (end - line) + 1;
                *end = 0;
                if (send_command (actor, line))
                    return 1;
                have -= length;
                memmove (line, line + length, have);
            }
            if (have == sizeof line)
                return 1;
        }
        else
            break;
    }
    zpoller_destroy (&poller);
    zactor_destroy (&actor);
    return 0;
}

static int
print_item (zconfig_t *self, void *arg, int level)
{
    (void) arg;
    if (level > 0)
        printf ("%d\t%s\t%s\n", level, zconfig_name (self), zconfig_value (self));
    return 0;
}

static int
config (const char *in, const char *out)
{
    zconfig_t *root = zconfig_load (in);
    if (!root)
        return 1;
    int rc = zconfig_execute (root, print_item, NULL);
    rc |= zconfig_save (root, out);
    zconfig_destroy (&root);
    return rc != 0;
}

static int
cert (const char *in, const char *out)
{
    zcert_t *cert = zcert_load (in);
    if (!cert)
        return 1;
    puts (zcert_public_txt (cert));
    puts (zcert_secret_txt (cert));
    int rc = zcert_save (cert, out);
    zcert_destroy (&cert);
    return rc != 0;
}

static int
curve (const char *endpoint, const char *server_key)
{
    static const byte hello [] = { 0xAA, 0xA0, 1, 1 };
    zsock_t *dealer = zsock_new (ZMQ_DEALER);
    zcert_t *cert = zcert_new ();
    zcert_apply (cert, dealer);
    zsock_set_curve_serverkey (dealer, server_key);
    zsock_set_rcvtimeo (dealer, 1000);
    zsock_set_linger (dealer, 0);
    if (zsock_connect (dealer, "%s", endpoint))
        return 1;
    zframe_t *frame = zframe_new (hello, sizeof hello);
    zframe_send (&frame, dealer, 0);
    byte publish [4 + 1 + 4 + 4 + 40 + 4] = { 0xAA, 0xA0, 2, 1, 4, 't', 'o', 'l', 'd', 0, 0, 0, 40 };
    assert (strlen (server_key) == 40);
    memcpy (publish + 13, server_key, 40);
    frame = zframe_new (publish, sizeof publish);
    zframe_send (&frame, dealer, 0);
    while ((frame = zframe_recv (dealer))) {
        char *hex = zframe_strhex (frame);
        puts (hex);
        zstr_free (&hex);
        zframe_destroy (&frame);
    }
    zcert_destroy (&cert);
    zsock_destroy (&dealer);
    return 0;
}

int
main (int argc, char **argv)
{
    if (argc == 2 && streq (argv [1], "gossip"))
        return gossip ();
    if (argc == 4 && streq (argv [1], "config"))
        return config (argv [2], argv [3]);
    if (argc == 4 && streq (argv [1], "cert"))
        return cert (argv [2], argv [3]);
    if (argc == 4 && streq (argv [1], "curve"))
        return curve (argv [2], argv [3]);
    fputs ("usage: peer gossip | config IN OUT | cert IN OUT | curve ENDPOINT SERVERKEY\n", stderr);
    return 2;
}
