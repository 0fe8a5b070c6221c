"""Other distributions' kernels in qemu, by emulation: no /dev/kvm, no image, nothing installed."""
