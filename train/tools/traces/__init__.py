"""Predicting what a program prints: the programs, the prints put into them, their true output. trace_adapter.py"""
