package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"shardnet/cmd/shardnet/internal/rawload"
	"shardnet/driver"
	"shardnet/driver/afxdp"
	"shardnet/driver/netlab"
)

// lab is the place that needs root: a veth pair of one queue between two
// namespaces, the generator's AF_XDP socket on one end, and on the other whatever
// server is asked.
type lab struct {
	cfg            *Config
	lab            *netlab.Lab
	server, client *netlab.Host
	end, far       *netlab.Interface // the server's, and the generator's
	dev            driver.Device     // on far; nil while the kernel has it
	unpin          func() error      // undoes the binding of this process to the generator's CPU
}

// newLab makes the namespaces and opens the generator's end.
func newLab(cfg *Config, mtu int) (place, error) {
	nl, err := netlab.New()
	if err != nil {
		return nil, err
	}
	l := &lab{cfg: cfg, lab: nl}
	if err := l.build(mtu); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *lab) build(mtu int) (err error) {
	if l.server, err = l.lab.AddHost("server"); err != nil {
		return err
	}
	if l.client, err = l.lab.AddHost("client"); err != nil {
		return err
	}
	l.end, l.far, err = l.lab.Connect(
		netlab.End{Host: l.server, Addresses: []netip.Prefix{kernelAddr4, kernelAddr6}},
		netlab.End{Host: l.client, Addresses: []netip.Prefix{clientAddr4, clientAddr6}},
		netlab.LinkConfig{Queues: 1, MTU: mtu})
	if err != nil {
		return err
	}
	// All of this process, so that none of it ever runs where the server does.
	if l.unpin, err = pinProcess(l.cfg.GeneratorCPU); err != nil {
		return err
	}
	if err := l.offload(false); err != nil {
		return err
	}
	return l.openGenerator()
}

// openGenerator gives the client's end to the generator.
func (l *lab) openGenerator() error {
	var addrs []netip.Prefix
	for _, a := range sources(l.cfg.IPv6) {
		addrs = append(addrs, netip.PrefixFrom(a, serverAddr(true, l.cfg.IPv6).Bits()))
	}
	return l.client.Do(func() (err error) {
		l.dev, err = afxdp.Open(&afxdp.Config{Interface: l.far.Name, Addresses: addrs})
		return err
	})
}

func (l *lab) generators() []generator {
	// A wait would put the kernel's wake-up of the generator into every latency,
	// and it has a CPU of its own.
	return []generator{{cpu: -1, Config: rawload.Config{
		Queue: l.dev.Queue(0), Info: l.dev.Info(), Sources: sources(l.cfg.IPv6), Spin: -1,
	}}}
}

func (l *lab) inProcess() bool { return false }

func (l *lab) serve(_ context.Context, cfg *ServerConfig) (server, error) {
	if err := l.handOver(cfg.Server == KernelOffload); err != nil {
		return nil, err
	}
	if cfg.BusyPoll && ours(cfg.Server) {
		if err := l.holdInterrupts(); err != nil {
			return nil, fmt.Errorf("hold interrupts back: %w", err)
		}
	}
	if !ours(cfg.Server) {
		cpu := l.cfg.ServerCPU
		if cfg.Server == KernelNoRPS {
			cpu = -1
		}
		if err := receiveOn(l.end, cpu); err != nil {
			return nil, err
		}
	}
	p, err := l.start(cfg, l.cfg.ServerCPU)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (l *lab) close() error {
	var errs []error
	if l.dev != nil {
		errs = append(errs, l.dev.Close())
	}
	if l.unpin != nil {
		errs = append(errs, l.unpin())
	}
	return errors.Join(append(errs, l.lab.Close())...)
}

// receiveOn has the kernel do its receive work for the end on the CPU, or with
// cpu < 0 on that of the sender: veth has no interrupts of its own to bind. That
// is receive packet steering (Documentation/networking/scaling.rst).
func receiveOn(end *netlab.Interface, cpu int) error {
	mask := "0"
	if cpu >= 0 {
		mask = cpuMask(cpu)
	}
	if err := setAttribute(end, "queues/rx-*/rps_cpus", mask); err != nil {
		return fmt.Errorf("steer received packets: %w", err)
	}
	return nil
}

// holdInterrupts has the server's end wait for whoever polls it busily, twice and
// for up to 200 us, before it takes to interrupts again
// (Documentation/networking/napi.rst, "IRQ mitigation").
func (l *lab) holdInterrupts() error {
	return errors.Join(setAttribute(l.end, "napi_defer_hard_irqs", "2"), setAttribute(l.end, "gro_flush_timeout", "200000"))
}

// setAttribute writes value to the attributes of the interface in sysfs whose names
// match pattern.
//
// sysfs shows the interfaces of the namespace that mounted it, so it is mounted
// once more, for one thread alone.
func setAttribute(end *netlab.Interface, pattern, value string) error {
	return end.Host.Do(func() error {
		// Not unlocked, so that the thread ends with this goroutine, and with it
		// its namespace of mounts.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
		if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
			return fmt.Errorf("mount sysfs: %w", err)
		}
		files, err := filepath.Glob("/sys/class/net/" + end.Name + "/" + pattern)
		if err == nil && len(files) == 0 {
			err = fmt.Errorf("%s has no %s", end.Name, pattern)
		}
		for _, f := range files {
			if err == nil {
				err = os.WriteFile(f, []byte(value), 0)
			}
		}
		return err
	})
}

// cpuMask is a CPU as sysfs has masks: groups of 32 bits in hex, commas between.
func cpuMask(cpu int) string {
	s := fmt.Sprintf("%x", uint32(1)<<(cpu%32))
	for range cpu / 32 {
		s += ",00000000"
	}
	return s
}
