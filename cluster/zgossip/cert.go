// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package zgossip

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	zmq "github.com/pebbe/zmq4"

	"github.com/zpipesfs/zpipesfs/wire/zpl"
)

// secretSuffix is what the name of a certificate with the secret key ends in, in CZMQ.
const secretSuffix = "_secret"

// maxCert bounds what is read of a certificate: keys and a lot of metadata.
const maxCert = 1 << 20

// ReadCert reads a key pair from a file of CZMQ's zcert format. If there is a file
// of that name with "_secret" appended, that is the one, as in CZMQ. A file of a
// public key only gives an empty secret. One with a secret key that others than its
// owner can use is refused, with fs.ErrPermission.
func ReadCert(file string) (public, secret string, err error) {
	public, secret, err = readCert(file + secretSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		public, secret, err = readCert(file)
	}
	if err != nil {
		return "", "", fmt.Errorf("read certificate: %w", err)
	}
	return public, secret, nil
}

func readCert(file string) (public, secret string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, maxCert))
	if err != nil {
		return "", "", err
	}
	root, err := zpl.Parse(text)
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	public, secret = root.Get("curve/public-key", ""), root.Get("curve/secret-key", "")
	switch perm := info.Mode().Perm(); {
	case !ValidKey(public) || secret != "" && !ValidKey(secret):
		return "", "", fmt.Errorf("%s: %w", file, ErrKey)
	case secret != "" && perm&0o077 != 0:
		return "", "", fmt.Errorf("%s: %w: others can use the secret key (mode %04o): chmod 600 %[1]s", file, fs.ErrPermission, perm)
	}
	return public, secret, nil
}

// CreateCert makes a key pair and writes it as zcert does: the public key to a file,
// both to one of that name with "_secret" appended, which only its owner can read. It
// returns the public key. It replaces no file: the error then is fs.ErrExist.
func CreateCert(file string) (public string, err error) {
	public, secret, err := zmq.NewCurveKeypair()
	if err != nil {
		return "", fmt.Errorf("make certificate: %w", err)
	}
	err = createCert(file+secretSuffix, 0o600, "Secret certificate: keep it to yourself.", public, secret)
	if err != nil {
		return "", fmt.Errorf("make certificate: %w", err)
	}
	if err := createCert(file, 0o644, "Public certificate: copy it where it is wanted.", public, ""); err != nil {
		return "", fmt.Errorf("make certificate: %w", errors.Join(err, os.Remove(file+secretSuffix)))
	}
	return public, nil
}

func createCert(file string, perm os.FileMode, comment, public, secret string) error {
	root := &zpl.Item{Items: []*zpl.Item{{Name: "metadata", Comments: []string{" ZeroMQ CURVE. " + comment}}}}
	err := root.Put("curve/public-key", public)
	if secret != "" {
		err = errors.Join(err, root.Put("curve/secret-key", secret))
	}
	if err != nil {
		return err
	}
	text, err := root.Append(nil)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s: %w: a key that nodes use must not be lost, choose another file or remove it", file, fs.ErrExist)
	}
	if err != nil {
		return err
	}
	if _, err = f.Write(text); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(file))
	}
	return nil
}
