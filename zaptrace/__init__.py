"""zaptrace: who freed my mapped page?"""
