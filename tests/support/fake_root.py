"""A directory that looks like the root of another machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PI_4: Mapping[str, str] = {
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.5\0",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "proc/stat": "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 1 1 1\n",
    "proc/loadavg": "0.52 0.58 0.59 1/257 12345\n",
    "proc/meminfo": "MemTotal:        4000000 kB\nMemFree: 100 kB\nMemAvailable:    3000000 kB\n",
    "proc/self/statm": "20000 10000 2000 1 0 5000 0\n",
    "proc/net/route": "Iface\tDestination\tGateway\nwlan0\t00000000\t0102A8C0\n",
    "proc/net/wireless": (
        "Inter-| sta-|   Quality        |   Discarded packets\n"
        " face | tus | link level noise |  nwid  crypt   frag\n"
        " wlan0: 0000   54.  -56.  -256        0      0      0\n"
    ),
    "proc/asound/cards": " 0 [Headset        ]: USB-Audio - USB Headset\n                      C-Media USB Headset\n",
    "proc/asound/pcm": "00-00: USB Audio : USB Audio : playback 1 : capture 1\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/video4linux/video0/name": "unicam\n",
    "sys/class/video4linux/video11/name": "bcm2835-codec-encode\n",
    "run/systemd/timesync/synchronized": "",
    "dev/video0": "",
    "dev/video11": "",
    "dev/gpiochip0": "",
}

PI_5: Mapping[str, str] = {
    **{name: text for name, text in PI_4.items() if not name.startswith(("sys/", "dev/", "proc/asound/"))},
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n',
    "etc/passwd": "root:x:0:0::/root:/bin/bash\nedge-node:x:990:990::/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "audio:x:29:\nvideo:x:44:\nrender:x:104:\ngpio:x:986:\nedge-node:x:990:\n",
    "proc/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n",
    "proc/asound/cards": (
        " 0 [vc4hdmi0       ]: vc4-hdmi - vc4-hdmi-0\n                      vc4-hdmi-0\n"
        " 2 [wm8960soundcard]: simple-card - wm8960-soundcard\n                      wm8960-soundcard\n"
    ),
    "proc/asound/pcm": "02-00: 1f000a0000.i2s-wm8960-hifi : : playback 1 : capture 1\n",
    "boot/firmware/config.txt": (
        "# For more options see http://rptl.io/configtxt\ndtparam=i2c_arm=on\n[all]\ndtoverlay=wm8960-soundcard\n"
    ),
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51200\n",
    "sys/class/hwmon/hwmon2/name": "rpi_volt\n",
    "sys/class/hwmon/hwmon2/in0_lcrit_alarm": "0\n",
    "sys/class/video4linux/video0/name": "rp1-cfe-csi2_ch0\n",
    "sys/class/video4linux/video20/name": "pispbe-input\n",
    "dev/video0": "",
    "dev/video20": "",
    "dev/gpiochip0": "",
    "dev/gpiochip10": "",
}


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    """Writes the files below root; returns it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
