#!/bin/bash
# Gives the guest what a Pi has: 54 pins, a camera, two sound cards, a revision.
set -euo pipefail

modprobe gpio-sim
modprobe vivid n_devs=1 node_types=0x1
# What is played into device 0 of a card is recorded from its device 1: the first is the microphone, the second the speaker.
modprobe snd-aloop index=0,1 enable=1,1 id=Mic,Spk pcm_substreams=1,1

config=/sys/kernel/config
mountpoint -q "$config" || mount -t configfs none "$config"
bank=$config/gpio-sim/pi/bank0
mkdir -p "$bank"
echo 54 >"$bank/num_lines"
echo pinctrl-bcm2711 >"$bank/label"
mkdir "$bank"/line{0..53}
for line in {0..53}; do
    echo "GPIO$line" >"$bank/line$line/name"
done
echo 1 >"$config/gpio-sim/pi/live"
device=/sys/devices/platform/$(cat "$config/gpio-sim/pi/dev_name")/$(cat "$bank/chip_name")
ln -sfn "$device" /run/pins
echo pull-up >"$device/sim_gpio17/pull"

# gpiozero asks for a board's revision: a Pi 4B 1.5 with 4 GB.
{ cat /proc/cpuinfo; printf 'Hardware\t: BCM2711\nRevision\t: c03115\nSerial\t\t: 10000000deadbeef\n'; } >/run/cpuinfo
udevadm settle
