// This Source Code Form is subject to the terms of the Mozilla Public
// License, v. 2.0. If a copy of the MPL was not distributed with this
// file, You can obtain one at https://mozilla.org/MPL/2.0/.

package main

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/zpipesfs/zpipesfs/broker"
	"github.com/zpipesfs/zpipesfs/broker/control"
	"github.com/zpipesfs/zpipesfs/broker/service"
	"github.com/zpipesfs/zpipesfs/cluster"
	"github.com/zpipesfs/zpipesfs/cluster/key"
	"github.com/zpipesfs/zpipesfs/cluster/link"
	"github.com/zpipesfs/zpipesfs/cluster/member"
	"github.com/zpipesfs/zpipesfs/cluster/names"
	"github.com/zpipesfs/zpipesfs/fs"
	"github.com/zpipesfs/zpipesfs/fs/device"
	"github.com/zpipesfs/zpipesfs/wire/peer"
)

// server is the process behind a broker: zpipes mount and zpipes broker.
type server struct {
	cfg     serverConfig
	verdict *verdict

	log     *slog.Logger
	logFile *logFile // nil: standard error
	pidFile *pidFile // nil: none
	signals chan os.Signal

	control *control.Server
	broker  *broker.Broker
	service *service.Service
	mount   *fs.Mount // nil: none

	// Nil on a host alone.
	key     *key.Ring // nil too: plain text
	id      peer.ID
	cluster *cluster.Cluster
	links   link.Links
	names   *names.Service
	member  *member.Membership

	discovery *discovery // nil: --join alone
}

// Run serves until a signal ends it or the mount is taken away.
func (s *server) Run() error {
	if s.cfg.Daemon && !s.verdict.daemon() {
		return s.startDaemon()
	}
	err := s.open()
	if err == nil {
		err = s.serve()
	}
	err = errors.Join(err, s.close())
	if err != nil && s.logFile != nil { // else run's line is on the same standard error
		s.log.Error("ended", "error", err)
	}
	return err
}

// startDaemon returns when the daemon is ready. It asks the mount itself, since
// a process must not wait for its own mount.
func (s *server) startDaemon() error {
	if err := startDaemon(); err != nil || s.cfg.MountPoint == "" {
		return err
	}
	if _, err := os.Stat(s.cfg.MountPoint); err != nil {
		return s.mountFailure(fmt.Errorf("the mount does not answer: %w", err))
	}
	return nil
}

// open makes the parts in the order in which they need each other. What an
// error leaves open is close's to end.
func (s *server) open() error {
	// Signals first: one that comes while the parts open must still end them.
	s.catchSignals()
	if err := s.openLog(); err != nil {
		return err
	}
	// The pid file before anything that others can see.
	if err := s.checkPidFile(); err != nil {
		return err
	}
	// The name before anything that it keeps others from: a second broker of the
	// name must not touch the first one's endpoints or mount.
	if err := s.takeName(); err != nil {
		return err
	}
	if err := s.openCluster(); err != nil {
		return err
	}
	if err := s.openBroker(); err != nil {
		return err
	}
	if err := s.openService(); err != nil {
		return err
	}
	// Members before the mount: who opens a pipe meets those that are open elsewhere.
	if err := s.joinCluster(); err != nil {
		return err
	}
	// The mount is what programs meet first, so it comes last: it answers at once.
	if err := s.openMount(); err != nil {
		return err
	}
	s.serveControl()
	return s.writePidFile()
}

// close ends the parts, also after an open that got half way.
func (s *server) close() error {
	var errs []error
	// What writers have left goes to its readers on other hosts while all still stands.
	// The others must know before any end closes that it does not because its program
	// has closed it.
	s.partCluster()
	// Then the broker: readers get end-of-file, writers EPIPE, opens an error, and
	// no new ends are taken. Without it a process blocked in the mount would be cut
	// off with ENOTCONN, or hold up the next step.
	if s.broker != nil {
		s.broker.Close()
	}
	// Then the mount, while nobody waits in it.
	if s.mount != nil {
		errs = append(errs, s.mount.Close())
	}
	// Then the endpoints: clients have got their last answers from the broker.
	if s.service != nil {
		errs = append(errs, s.service.Close())
	}
	errs = append(errs, s.leaveCluster()...)
	if s.pidFile != nil {
		errs = append(errs, s.pidFile.remove())
	}
	// The name last: whoever gets it next finds everything free.
	if s.control != nil {
		errs = append(errs, s.control.Close())
	}
	return errors.Join(errs...)
}

// serve tells that everything is ready and waits for the end.
func (s *server) serve() error {
	if s.verdict.daemon() && s.logFile == nil {
		if err := muteStderr(); err != nil {
			return fmt.Errorf("standard error: %w", err)
		}
	}
	if s.verdict.daemon() && !s.verdict.ready() {
		return errors.New("who started the daemon has not waited for it")
	}
	s.log.Info("ready", "name", s.cfg.Name, "pid", os.Getpid(), "mount", s.cfg.MountPoint, "endpoints", s.service.Endpoints())
	return s.wait()
}

// wait returns when a signal ends the server, or the end of the mount or of the
// service does.
func (s *server) wait() error {
	var gone <-chan struct{}
	if s.mount != nil {
		gone = s.mount.Done()
	}
	for {
		select {
		case sig := <-s.signals:
			if sig == syscall.SIGHUP && s.logFile != nil {
				s.reopenLog()
				continue
			}
			s.log.Info("ending", "signal", sig)
			return nil
		case <-s.service.Done():
			return errors.New("the ZPIPES service has ended") // why is what its Close returns
		case <-gone:
			if err := s.mount.Wait(); err != nil {
				return s.mountFailure(err)
			}
			s.log.Info("ending", "unmounted", s.cfg.MountPoint)
			return nil
		}
	}
}

// catchSignals never stops catching: a second signal while the server ends must
// not cut that short and leave a dead mount.
func (s *server) catchSignals() {
	s.signals = make(chan os.Signal, 8)
	signal.Notify(s.signals, syscall.SIGINT, syscall.SIGTERM)
	switch {
	case s.cfg.LogFile != "": // SIGHUP is a log rotation's
		signal.Notify(s.signals, syscall.SIGHUP)
	case s.verdict.daemon():
		signal.Ignore(syscall.SIGHUP)
	case !signal.Ignored(syscall.SIGHUP): // the terminal has gone, and there is no nohup(1)
		signal.Notify(s.signals, syscall.SIGHUP)
	}
	// A log that nobody reads any more is no reason to die and leave a dead mount.
	signal.Ignore(syscall.SIGPIPE)
}

func (s *server) openLog() error {
	out := os.Stderr
	if s.cfg.LogFile != "" {
		f, err := openLogFile(s.cfg.LogFile, s.verdict.daemon())
		if err != nil {
			return &failure{code: exitFailure, op: "log file", err: err}
		}
		s.logFile, out = f, f.file
	}
	s.log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: s.cfg.LogLevel}))
	if s.verdict.daemon() {
		return detach()
	}
	return nil
}

func (s *server) reopenLog() {
	if err := s.logFile.reopen(); err != nil {
		s.log.Error("log file not opened again", "error", err)
		return
	}
	s.log.Info("log file opened again")
}

func (s *server) takeName() (err error) {
	err = afterKill(control.ErrNameTaken, func() error {
		s.control, err = control.Listen(s.cfg.Name)
		return err
	})
	if err == nil {
		return nil
	}
	f := &failure{op: "broker " + s.cfg.Name, err: err}
	if errors.Is(err, control.ErrNameTaken) {
		f.op, f.cure = "broker", "choose another with --name"
	}
	return f
}

// serveControl comes when everything is open: callers have waited meanwhile, and
// learn of no half-open server.
func (s *server) serveControl() {
	info := control.Info{Version: version(), Endpoints: s.service.Endpoints(), MountPoints: []string{}, AllowOther: s.cfg.AllowOther}
	if s.mount != nil {
		info.MountPoints = append(info.MountPoints, s.mount.Dir())
	}
	control.HandleBroker(s.control, s.broker, info)
	control.Handle(s.control, "status", s.status)
	control.Handle(s.control, "pipes", s.pipes)
	control.Handle(s.control, "sync", s.sync)
	s.control.Serve(control.Options{AllowOther: s.cfg.AllowOther, Log: s.log})
}

func (s *server) openBroker() error {
	cfg := broker.Config{
		Capacity: int(s.cfg.Capacity),
		Owner:    broker.Owner{Perm: 0o755, UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())},
		Log:      s.log,
	}
	if s.cluster == nil {
		s.broker = broker.New(cfg)
		return nil
	}
	cfg.Peers, cfg.Names = s.cluster, s.names
	s.broker = broker.New(cfg)
	if err := s.openLinks(); err != nil {
		return err
	}
	if err := s.names.Start(s.broker); err != nil {
		return &failure{op: "--state-dir", err: err}
	}
	return nil
}

// openService serves ZPIPES clients.
func (s *server) openService() error {
	cfg := service.Config{Broker: s.broker, Endpoints: s.cfg.Endpoints, ClientTimeout: s.cfg.ClientTimeout, Log: s.log}
	if len(cfg.Endpoints) == 0 {
		cfg.Endpoints = []string{service.DefaultEndpoint(s.cfg.Name)}
	}
	if s.cfg.AllowOther {
		cfg.AllowUID = func(int) bool { return true }
	}
	err := afterKill(service.ErrInUse, func() (err error) {
		s.service, err = service.Start(cfg)
		return err
	})
	switch {
	case errors.Is(err, service.ErrInUse):
		return &failure{code: exitInUse, err: err}
	case errors.Is(err, service.ErrEndpoint):
		return &failure{code: exitUsage, err: err}
	case err != nil:
		return &failure{err: err}
	}
	return nil
}

// afterKill tries again for a second while something is taken: what a process
// held that was killed a moment ago is free a moment later.
func afterKill(taken error, try func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(time.Second)
	for {
		err := try()
		if !errors.Is(err, taken) {
			return err
		}
		select {
		case <-tick.C:
		case <-end:
			return err
		}
	}
}

// openMount mounts, in the place of a mount that a killed server has left.
func (s *server) openMount() error {
	dir := s.cfg.MountPoint
	if dir == "" {
		return nil
	}
	// The loops that read the device keep their processors while they spin; the
	// rest of the process must not wait for one.
	runtime.GOMAXPROCS(runtime.NumCPU() + fs.Loops)
	cfg := fs.Config{Broker: s.broker, Name: s.cfg.Name, AllowOther: s.cfg.AllowOther, Log: s.log}
	err := afterKill(device.ErrOccupied, func() (err error) {
		s.mount, err = fs.New(dir, cfg)
		if !errors.Is(err, device.ErrStale) {
			return err
		}
		s.log.Warn("taking away the mount of a server that has died", "mount", dir)
		if err := device.Unmount(dir); err != nil {
			return err
		}
		s.mount, err = fs.New(dir, cfg)
		return err
	})
	if err != nil {
		return s.mountFailure(err)
	}
	return nil
}

func (s *server) mountFailure(err error) error {
	return mountFailure("mount "+s.cfg.MountPoint, err)
}

// mountFailure says what to do about an error of the mount.
func mountFailure(op string, err error) error {
	f := &failure{code: exitMount, op: op, err: err}
	switch {
	case errors.Is(err, device.ErrOccupied):
		f.code, f.err, f.cure = exitOccupied, device.ErrOccupied, "unmount it or choose another directory"
	case errors.Is(err, device.ErrNotMounted):
		f.err = device.ErrNotMounted
	case errors.Is(err, iofs.ErrNotExist):
		f.err, f.cure = errors.New("no such directory"), "make it first"
		if _, err := os.Stat("/dev/fuse"); err != nil {
			f.err, f.cure = err, "load the fuse module (modprobe fuse); a container needs --device /dev/fuse"
		}
	case errors.Is(err, syscall.ENOTDIR):
		f.err, f.cure = syscall.ENOTDIR, "a mount point is a directory"
	case errors.Is(err, device.ErrHelper) && errors.Is(unix.Access("/dev/fuse", unix.R_OK|unix.W_OK), unix.EACCES):
		f.cure = "ordinary users need access to it: chmod 666 /dev/fuse"
	case errors.Is(err, syscall.EPERM):
		f.cure = "a container needs --device /dev/fuse and --cap-add SYS_ADMIN"
	}
	return f
}
