"""What is known of this machine from /proc and /sys: processor, memory, temperatures, sensors, cameras, this process's use."""
