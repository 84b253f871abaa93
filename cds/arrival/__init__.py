"""Studies that arrive: noticed, analysed before anyone asks, checked again afterwards."""
