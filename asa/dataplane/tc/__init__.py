"""The Linux kernel's traffic control: classes of HTB, whatever tells the packets apart."""
